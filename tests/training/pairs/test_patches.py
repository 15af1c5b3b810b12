"""Patches: the whole grid, without what is empty, in seeded order and orientation, read from disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from training.pairs.experiments import store_fields

from dimstream_models.training.errors import InvalidPairs, InvalidPrepared
from dimstream_models.training.pairs.patches import PatchSource
from dimstream_models.training.pairs.prepared import Prepared, Role, read_prepared
from dimstream_models.training.settings import PairsSettings

PATCH_PX = 16
HEIGHT, WIDTH = 40, 51


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Four training fields and one for validation, every pixel with a number of its own; high = low + 1."""
    pixels = np.arange(5 * HEIGHT * WIDTH, dtype=np.uint16).reshape(5, HEIGHT, WIDTH)
    roles: list[Role] = ["training"] * 4 + ["validation"]
    return store_fields(tmp_path_factory.mktemp("numbered"), [(low, low + 1) for low in pixels], roles)


def source(
    prepared: Prepared, role: Role = "training", *, batch: int = 5, seed: int = 3, **settings: Any
) -> PatchSource:
    told = PairsSettings(prepared=prepared.folder, **settings)
    return PatchSource(prepared, role, told, batch=batch, patch_px=PATCH_PX, seed=seed)


def epoch(patches: PatchSource, number: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """All counts and truths of one epoch, (N, y, x) each."""
    steps = range(number * patches.steps_per_epoch, (number + 1) * patches.steps_per_epoch)
    made = [patches.batch(step) for step in steps]
    return tuple(
        np.concatenate([getattr(each, name).numpy()[:, 0] for each in made]) for name in ("counts", "truth")
    )  # type: ignore[return-value]


def corners(patches: NDArray[np.float32]) -> list[float]:
    """The least number of each patch: its corner, whatever its orientation."""
    return sorted(patches.min(axis=(1, 2)).tolist())


def test_an_epoch_holds_every_patch_of_the_grid_once_up_to_the_borders(numbered: Prepared) -> None:
    patches = source(numbered)
    tops, lefts = (0, 16, 24), (0, 16, 32, 35)  # the last ones touch the border
    expected = [f * HEIGHT * WIDTH + y * WIDTH + x for f in range(4) for y in tops for x in lefts]
    assert patches.steps_per_epoch == -(-len(expected) // 5)
    for number in (0, 1):
        counts, truths = epoch(patches, number)
        assert corners(counts) == expected
        np.testing.assert_array_equal(truths, counts + 1)  # both turned alike


def test_overlap_follows_the_stride(numbered: Prepared) -> None:
    counts, _ = epoch(source(numbered, "validation", stride_px=8))
    assert len(counts) == 4 * 6  # tops 0, 8, 16, 24; lefts 0, 8, ..., 32, 35


def test_batches_are_as_the_network_takes_them(numbered: Prepared) -> None:
    patches = source(numbered)
    first, last = patches.batch(0), patches.batch(patches.steps_per_epoch - 1)
    assert first.counts.shape == first.truth.shape == (5, 1, PATCH_PX, PATCH_PX)
    assert str(first.counts.dtype) == "torch.float32"
    assert first.counts.is_contiguous()
    assert first.counted is None
    assert len(last.counts) == 48 % 5


def test_a_step_is_the_same_whenever_it_is_asked_for(numbered: Prepared) -> None:
    forward, backward = source(numbered), source(numbered)
    made = {step: forward.batch(step) for step in range(25)}
    for step in reversed(range(25)):
        again = backward.batch(step)
        assert made[step].counts.equal(again.counts)
        assert made[step].truth.equal(again.truth)
    assert not source(numbered, seed=4).batch(0).counts.equal(made[0].counts)


def test_order_and_orientation_are_drawn_anew_for_each_epoch(numbered: Prepared) -> None:
    (first, _), (second, _) = (epoch(source(numbered), number) for number in (0, 1))
    assert [patch.min() for patch in first] != [patch.min() for patch in second]
    by_corner = [{patch.min(): patch for patch in patches} for patches in (first, second)]
    turned = sum(not np.array_equal(by_corner[0][corner], by_corner[1][corner]) for corner in by_corner[0])
    assert 48 * 0.7 < turned <= 48  # seven of eight differ


ORIENTATIONS = {"none": 1, "flips": 4, "flips_and_turns": 8}


@pytest.mark.parametrize(("augmentation", "number"), ORIENTATIONS.items(), ids=ORIENTATIONS)
def test_each_augmentation_gives_its_orientations_alike_often(
    numbered: Prepared, augmentation: str, number: int
) -> None:
    patches = source(numbered, augmentation=augmentation)
    seen: dict[bytes, int] = {}
    for index in range(12):
        for patch in epoch(patches, index)[0]:
            shape = (patch - patch.min()).tobytes()  # equal for all places of the numbered fields
            seen[shape] = seen.get(shape, 0) + 1
    assert len(seen) == number
    expected = 12 * 48 / number
    assert all(abs(times - expected) < 5 * expected**0.5 for times in seen.values())


def test_validation_is_the_same_in_every_epoch_and_as_stored(numbered: Prepared) -> None:
    patches = source(numbered, "validation", batch=100)
    first, second = patches.batch(0), patches.batch(1)
    assert first.counts.equal(second.counts)
    low, _ = numbered.open(numbered.of("validation")[0])
    np.testing.assert_array_equal(first.counts[0, 0], low[:PATCH_PX, :PATCH_PX])
    np.testing.assert_array_equal(first.counts[-1, 0], low[-PATCH_PX:, -PATCH_PX:])


def test_no_more_than_max_patches_are_chosen_by_seed(numbered: Prepared) -> None:
    chosen = corners(epoch(source(numbered, max_patches=10))[0])
    assert len(chosen) == 10
    assert corners(epoch(source(numbered, max_patches=10), 3)[0]) == chosen  # the same in every epoch
    assert corners(epoch(source(numbered, max_patches=10, seed=4))[0]) != chosen
    assert len(epoch(source(numbered, max_patches=1000))[0]) == 48
    assert len(epoch(source(numbered, "validation", max_patches=2))[0]) == 12  # judged by all


def test_empty_patches_are_left_out_by_their_truth(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    low = rng.poisson(50, (2, 48, 48)).astype(np.uint16)
    high = np.zeros_like(low)
    high[0, :16, 16:32] = 100  # norm 1600
    high[1, 40:, 40:] = 50  # norm 400, a quarter
    prepared = store_fields(tmp_path, list(zip(low, high, strict=True)), ["training", "training"])
    for threshold, number in ((0.0, 18), (0.2, 2), (0.25, 2), (0.3, 1)):
        _, truths = epoch(source(prepared, empty_threshold=threshold))
        assert len(truths) == number
        assert all(np.linalg.norm(truth) >= threshold * 1600 for truth in truths)


def test_norms_are_those_of_the_windows_themselves(numbered: Prepared) -> None:
    _, truths = epoch(source(numbered, empty_threshold=0.5, augmentation="none"))
    _, everything = epoch(source(numbered, augmentation="none"))
    norms = np.linalg.norm(everything.astype(float), axis=(1, 2))
    assert len(truths) == np.count_nonzero(norms >= 0.5 * norms.max())
    assert 0 < len(truths) < len(everything)


def test_patches_larger_than_a_field_are_refused_by_name(numbered: Prepared) -> None:
    with pytest.raises(
        InvalidPairs,
        match=r"at least fit.patch_px = 48 px a side, got 40 x 51 px in field-0 .* the smallest of 4",
    ):
        PatchSource(
            numbered, "training", PairsSettings(prepared=numbered.folder), batch=1, patch_px=48, seed=0
        )


def test_fields_without_high_dose_are_refused(tmp_path: Path) -> None:
    prepared = store_fields(tmp_path, [(np.ones((20, 20), np.uint16), None)], ["training"])
    with pytest.raises(InvalidPairs, match=r"set pairs.split_photons"):
        source(prepared)


def test_a_role_without_fields_is_refused(numbered: Prepared) -> None:
    with pytest.raises(InvalidPairs, match="has no test fields"):
        source(numbered, "test")


def test_changed_files_are_found_before_the_first_step(tmp_path: Path) -> None:
    store_fields(tmp_path, [(np.ones((20, 20), np.uint16),) * 2], ["training"])
    prepared = read_prepared(tmp_path)
    with (tmp_path / "fields" / "00000.npy").open("r+b") as file:
        file.seek(-2, 2)
        file.write(b"\x07")
    with pytest.raises(InvalidPrepared, match="has changed"):
        source(prepared)
