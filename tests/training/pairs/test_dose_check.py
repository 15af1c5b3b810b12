"""Pairs that cannot teach are refused in words, by name; what is only worth knowing is said."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from training.pairs.experiments import DOSE_RATIO, draw_structure, expose_pair, write_day

from dimstream_models.training.cli import main
from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.dose_check import compare_doses
from dimstream_models.training.pairs.patches import PatchSource
from dimstream_models.training.pairs.prepare_folder import prepare
from dimstream_models.training.pairs.prepared import Prepared, PrepareSettings, read_prepared
from dimstream_models.training.settings import PairsSettings

Image = np.ndarray
HOT = np.zeros((96, 96))
HOT[40, 50] = 1
LOW, HIGH = expose_pair(0)


def light(seed: int = 0) -> Image:
    return draw_structure(seed)


def averaged(frames: int, *, first: Image | None = None) -> Image:
    """The mean of so many exposures, the first of them given or not."""
    rng, expected = np.random.default_rng(5), light()
    exposures = [rng.poisson(expected) for _ in range(frames)]
    if first is not None:
        exposures[0] = first
    return np.mean(exposures, axis=0, dtype=np.float32)


REFUSED = {
    "swapped": (HIGH, LOW, "look swapped: the low dose is the cleaner image.* at low dose, .* at high dose"),
    "swapped, the truth an average": (
        (100 * averaged(80)).astype(np.uint16),
        100 * LOW,
        "look swapped: the low dose is the cleaner image",
    ),
    "equal": (LOW, LOW, "low and high dose are equal"),
    "equal in another type": (LOW, LOW.astype(np.float32), "low and high dose are equal"),
    "a copy times 70": (LOW, 70 * LOW, "are the same image, scaled"),
    "a copy plus 100": (LOW, LOW + 100, "are the same image, scaled"),
    "a low dose that is the high over 20, rounded": ((HIGH / 20).round(), HIGH, "are the same image, scaled"),
    "a copy between 0 and 1": (LOW, LOW / np.float32(LOW.max()), "are the same image, scaled"),
    "a copy that is clipped": (LOW, np.minimum(30 * LOW, 90), "are the same image, scaled"),
    "more counts at low dose": (LOW + 500, HIGH - HIGH + LOW[::-1], "low dose has more counts"),
}


@pytest.mark.parametrize(("low", "high", "reason"), REFUSED.values(), ids=REFUSED)
def test_pairs_without_a_truth_are_refused_with_both_means(low: Image, high: Image, reason: str) -> None:
    doses = compare_doses(low, high)
    assert doses is not None
    assert doses.refusal is not None
    assert f"{low.mean():.4g} at low dose, {high.mean():.4g} at high dose" in doses.refusal
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(doses.refusal)


FINE = averaged(400)
TAKEN = {
    "a noisy and a clean image": (LOW, HIGH),
    "the truth an average": (LOW, averaged(50)),
    "the low dose among those averaged": (LOW, averaged(50, first=LOW)),
    "two exposures of one dose": (LOW, np.random.default_rng(9).poisson(light())),
    "a camera's offset left in": (LOW + 100, HIGH + 100),
    "other gains, so that the low dose is brighter": (100 * LOW, HIGH),
    "a truth between 0 and 1": (LOW, FINE / np.float32(FINE.max())),
    "a hot pixel in the dark": (HOT, 70 * HOT),
    "a hot pixel of 60,000 counts in both": (LOW + 60_000 * HOT, HIGH + 60_000 * HOT),
    "a hot pixel in the truth alone": (LOW, HIGH + 60_000 * HOT),
}


@pytest.mark.parametrize(("low", "high"), TAKEN.values(), ids=TAKEN)
def test_pairs_that_can_teach_are_taken(low: Image, high: Image) -> None:
    doses = compare_doses(low, high)
    assert doses is not None
    assert doses.refusal is None


@given(
    seed=st.integers(0, 10**6),
    side=st.integers(48, 128),
    photons=st.floats(0.1, 50),
    ratio=st.floats(6, 200),
    offset=st.sampled_from([0, 7, 100]),
)
def test_real_pairs_are_taken_and_swapped_ones_refused_whatever_their_dose(
    seed: int, side: int, photons: float, ratio: float, offset: int
) -> None:
    rng = np.random.default_rng(seed)
    structure = draw_structure(seed, side) + 0.05
    structure *= photons / structure.mean()
    low, high = (rng.poisson(level * structure) + offset for level in (1.0, ratio))
    doses, swapped = compare_doses(low, high), compare_doses(high, low)
    assert doses is not None
    assert swapped is not None
    assert doses.refusal is None
    assert swapped.refusal is not None
    again = compare_doses(low, low)
    assert again is not None
    assert "are equal" in str(again.refusal)


def told(day: Path, *options: str) -> int:
    return main(["prepare", str(day), "--out", str(day.parent / "out"), *options])


@pytest.mark.parametrize("options", [[], ["--fields-of-view", "planes"], ["--no-registration"]], ids=str)
def test_equal_folders_end_and_are_said_to_be_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    day = write_day(tmp_path / "day", range(4))
    shutil.rmtree(day / "high")
    shutil.copytree(day / "low", day / "high")
    assert told(day, *options) == 2
    said = capsys.readouterr().err
    assert said.count("low and high dose are equal") == 4
    assert "day/field-3" in said
    assert not (tmp_path / "out").exists()


def test_swapped_folders_are_refused_and_one_swapped_pair_can_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = write_day(tmp_path / "day", range(4))
    (day / "low" / "field-1.tif").rename(tmp_path / "kept.tif")
    (day / "high" / "field-1.tif").rename(day / "low" / "field-1.tif")
    (tmp_path / "kept.tif").rename(day / "high" / "field-1.tif")
    assert told(day) == 2
    assert (
        "of 4 pairs these are not:\n  day/field-1: low and high dose look swapped" in capsys.readouterr().err
    )
    assert told(day, "--leave-out-refused") == 0
    assert [field.name[-1] for field in read_prepared(tmp_path / "out").fields] == ["0", "2", "3"]


def test_shifts_of_nothing_are_drawn_and_drawing_ends(tmp_path: Path) -> None:
    day = write_day(tmp_path / "day", range(3))
    prepare([day], tmp_path / "out", PrepareSettings(max_shift_px=1e12))
    assert (tmp_path / "out" / "report.html").stat().st_size > 0


def write_averages(folder: Path, *, frames: int = 50, scale: float = 1.0) -> Path:
    """Three fields whose truth is a mean of exposures, float32."""
    day = write_day(folder / "day", range(3))
    for seed in range(3):
        rng = np.random.default_rng((seed, 8))
        mean = np.mean([rng.poisson(draw_structure(seed)) for _ in range(frames)], axis=0) * scale
        tifffile.imwrite(day / "high" / f"field-{seed}.tif", mean.astype(np.float32))
    return day


def test_averages_are_truths_whose_fractions_are_kept(tmp_path: Path) -> None:
    day = write_averages(tmp_path)
    pairs = prepare([day], tmp_path / "out", PrepareSettings(registered=False))
    largest = max(tifffile.imread(path).max() for path in (day / "high").iterdir())
    factor = pairs.index.high_factor
    assert factor in (100, 1000, 10_000)
    assert 6553 < factor * largest <= 65535
    low, high = pairs.open(pairs.fields[0])
    np.testing.assert_array_equal(low, expose_pair(0)[0])
    assert high is not None
    mean = tifffile.imread(day / "high" / "field-0.tif")
    np.testing.assert_allclose(high / factor, mean, atol=0.5 / factor)
    assert any(f"stored {factor:g} times as large" in note for note in pairs.index.notes)
    assert f"stored {factor:g} times as large" in (tmp_path / "out" / "report.html").read_text()
    assert pairs.dose_ratio() == pytest.approx(factor, rel=0.05)


def test_averages_are_stored_as_large_as_told(tmp_path: Path) -> None:
    day = write_averages(tmp_path)
    assert told(day, "--multiply-high", "50") == 0
    pairs = read_prepared(tmp_path / "out")
    assert (pairs.index.high_factor, pairs.index.settings.multiply_high) == (50, 50)


AVERAGES_REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "each over its own maximum": (
        lambda day: [
            tifffile.imwrite(path, (image := tifffile.imread(path)) / image.max())
            for path in (day / "high").iterdir()
        ],
        "whose maximum is exactly 1",
    ),
    "an average at low dose": (
        lambda day: tifffile.imwrite(day / "low" / "field-1.tif", averaged(3)),
        "day/field-1, low dose: expected whole counts, got",
    ),
    "values below zero": (
        lambda day: tifffile.imwrite(day / "high" / "field-1.tif", averaged(50) - 2),
        r"day/field-1, high dose: .*below 0 after 0 was subtracted.*here -2",
    ),
}


@pytest.mark.parametrize(("change", "reason"), AVERAGES_REFUSED.values(), ids=AVERAGES_REFUSED)
def test_averages_that_are_no_truth_are_refused(
    tmp_path: Path, change: Callable[[Path], object], reason: str
) -> None:
    day = write_averages(tmp_path)
    change(day)
    with pytest.raises(InvalidPairs, match=reason):
        prepare([day], tmp_path / "out", PrepareSettings(registered=False))


def notes_of(tmp_path: Path, days: list[Path], **options: object) -> str:
    prepared: Prepared = prepare(days, tmp_path / "out", PrepareSettings.model_validate(options))
    return "\n".join(prepared.index.notes)


def overwrite(day: Path, dose: str, change: Callable[[Image, int], Image]) -> None:
    for path in (day / dose).iterdir():
        tifffile.imwrite(path, change(tifffile.imread(path), int(path.stem[-1])))


NOTES: dict[str, tuple[Callable[[Path], object], str]] = {
    "one day": (lambda day: None, "All images are of one measurement day (day)"),
    "small": (lambda day: None, "the smallest is 96 x 96 px ({day}/low/field-0.tif). A recipe for these"),
    "pixels of no size": (lambda day: None, "No file states its pixel size"),
    "a camera": (
        lambda day: overwrite(day, "low", lambda image, _: 100 + 5 * image),
        "Low dose is not photon counts (variance/mean",
    ),
    "a truth with its noisy image": (
        lambda day: overwrite(
            day,
            "high",
            lambda _, seed: (100 * np.mean([expose_pair(seed)[0], *exposures(seed, 9)], axis=0)).astype(
                np.uint16
            ),
        ),
        "Low and high dose share noise in day/field-0",
    ),
    "a truth of the same dose": (
        lambda day: overwrite(day, "high", lambda _, seed: exposures(seed, 1)[0].astype(np.uint16)),
        "High dose is hardly cleaner than the low dose in day/field-0",
    ),
    "a brighter low dose": (
        lambda day: overwrite(day, "low", lambda image, _: 100 * image),
        "Low dose has more counts than the high dose in day/field-0, day/field-1, day/field-2",
    ),
}


def mean_with_low(seed: int) -> Image:
    return np.mean([expose_pair(seed)[0], *exposures(seed, 9)], axis=0)


def exposures(seed: int, number: int) -> list[Image]:
    rng = np.random.default_rng((seed, 3))
    return [rng.poisson(draw_structure(seed)) for _ in range(number)]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "note"), NOTES.values(), ids=NOTES)
def test_what_is_worth_knowing_is_said(tmp_path: Path, change: Callable[[Path], object], note: str) -> None:
    day = write_day(tmp_path / "day", range(3))
    change(day)
    assert note.format(day=day) in notes_of(tmp_path, [day], registered=False)


def test_sound_pairs_of_two_days_are_not_commented(tmp_path: Path) -> None:
    days = [tmp_path / "day-1", tmp_path / "day-2"]
    for folder, seed in zip(days, (3, 4), strict=True):
        rng, structure = np.random.default_rng(seed), draw_structure(seed, 128)
        for dose, level in (("low", 1), ("high", DOSE_RATIO)):
            folder.joinpath(dose).mkdir(parents=True)
            counts = rng.poisson(level * structure).astype(np.uint16)
            tifffile.imwrite(folder / dose / "a.tif", counts)
    assert notes_of(tmp_path, days, validation_days=("day-2",), test_share=0, pixel_size_nm=20) == ""


def test_images_below_the_patch_are_told_with_file_size_and_patch(tmp_path: Path) -> None:
    day = write_day(tmp_path / "day", range(3))
    for dose in ("low", "high"):
        path = day / dose / "field-2.tif"
        tifffile.imwrite(path, tifffile.imread(path)[:61])
    pairs = prepare([day], tmp_path / "out", PrepareSettings(registered=False, test_share=0))
    role = next(field.role for field in pairs.fields if field.name == "day/field-2")
    told = PairsSettings(prepared=pairs.folder)
    said = (
        r"fit.patch_px = 128 px a side, got 61 x 96 px in day/field-2 \(.*low/field-2.tif\).* to at most 56"
    )
    with pytest.raises(InvalidPairs, match=said):
        PatchSource(pairs, role, told, batch=1, patch_px=128, seed=0)


def test_pixels_of_two_sizes_in_a_pair_are_refused_with_both(tmp_path: Path) -> None:
    day = write_day(tmp_path / "day", range(3))
    for dose, nm in (("low", 20), ("high", 25)):
        scale = {"resolution": (1000 / nm, 1000 / nm), "metadata": {"unit": "um"}}
        path = day / dose / "field-1.tif"
        tifffile.imwrite(path, tifffile.imread(path), imagej=True, **scale)
    with pytest.raises(InvalidPairs, match="got 20 nm at low dose and 25 nm at high dose: resample one"):
        prepare([day], tmp_path / "out", PrepareSettings())
