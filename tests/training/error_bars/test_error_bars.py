"""Error bars fitted to a bundle whose error is known, put into it, served, rescaled and refused."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from dimstream_client.quality import Thresholds
from dimstream_models.bundle import Bundle, check_error_bar, open_draft, read_bundle, write_bundle
from dimstream_models.training.cli import main
from dimstream_models.training.error_bars.adding import Wanted, add_error_bar, deviation_of
from dimstream_models.training.error_bars.fitting import Effort, fit_error_bars
from dimstream_models.training.error_bars.movies import judge_movie
from dimstream_models.training.error_bars.network import ErrorBarNetwork
from dimstream_models.training.error_bars.recalibrating import recalibrate_error_bars
from dimstream_models.training.error_bars.rescaling import with_error_bar_rescaled
from dimstream_models.training.error_bars.samples import Exposed, Judged, Sample
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.fused_model import FusedModel

QUICK = Wanted(frames=8, recalibrated=2, held_back=2, effort=Effort(steps=8, batch=4, patch_px=48))
GAIN = 2.0  # of the bundle `identity`


def files_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.*")}


def movie(path: Path, light: float, *, shape: tuple[int, int] = (64, 64)) -> Path:
    """Photons of an even field, brighter on one side."""
    field = np.full(shape, light)
    field[:, shape[1] // 2 :] *= 4
    counts = np.random.default_rng(2).poisson(field, (12, *shape)).astype(np.uint16)
    tifffile.imwrite(path, counts, metadata={"axes": "TYX"})
    return path


@pytest.mark.slow
def test_weights_and_test_output_stay_and_the_service_computes_the_same(
    identity: Bundle, tmp_path: Path
) -> None:
    before = files_of(identity.source)
    made, rows = add_error_bar(identity.source, tmp_path / "new", QUICK)
    after = files_of(made.source)
    assert {name for name in before if before[name] != after[name]} == {"bioimageio.yaml", "README.md"}
    assert "## Error bars" in made.documentation
    assert set(after) - set(before) == {"error_bar.onnx", "error_bar_test.npy"}
    assert made.error_bar is not None
    assert len(made.error_bar.record.coverage) == len(rows)
    assert made.error_bar.record.photons_per_count == pytest.approx(1 / GAIN, rel=0.02)
    served = FusedModel(
        made, device=Device(cuda=None), in_dtype="uint16", out_dtype="float32", threads=1, with_sd=True
    )
    frame = np.random.default_rng(3).poisson(2.0, (45, 50)).astype(np.uint16)
    expected = deviation_of(made.error_bar.onnx, made)(frame.astype(np.float32), frame.astype(np.float32))
    output = served.run(frame, None, Thresholds(None))
    np.testing.assert_allclose(output.sd, expected, rtol=1e-4)
    np.testing.assert_array_equal(output.denoised, GAIN * frame)


def even(rng: np.random.Generator, light: float, side_px: int = 48) -> Sample:
    """A frame of even light, given back as it is: its error is that of a Poisson count."""
    counts = rng.poisson(light, (side_px, side_px)).astype(np.float32)
    truth = np.full_like(counts, light)
    centre = np.full(counts.shape, 2, np.uint8)
    return Sample(Exposed(counts, truth, centre, light, 0), counts, np.abs(counts - truth))


@pytest.mark.slow
def test_the_noise_of_photons_is_found() -> None:
    """A count misses the light by the light's root, and less where it is near what is around it."""
    rng = np.random.default_rng(0)
    samples = [even(rng, float(light)) for light in np.geomspace(1, 30, 80)]
    effort = Effort(steps=100, batch=4, patch_px=48)
    network = fit_error_bars(samples, gain=1.0, scale=1.0, offset=0.0, seed=0, effort=effort).eval()
    for light in (2.3, 6.3, 20.3):
        fresh = even(rng, light, 96)
        counts = torch.from_numpy(fresh.exposed.counts)[None, None]
        with torch.no_grad():
            found = network(counts, counts)[0, 0].numpy()
        assert float(np.sqrt((found**2).mean())) == pytest.approx(light**0.5, rel=0.25)
        assert float((fresh.error <= found).mean()) == pytest.approx(0.683, abs=0.17)
        assert float((fresh.error <= 2 * found).mean()) == pytest.approx(0.954, abs=0.06)


def test_bars_of_twice_the_length_are_halved_by_the_table() -> None:
    rng = np.random.default_rng(4)
    network = ErrorBarNetwork(scale=1.0, offset=0.0).eval()
    with torch.no_grad():
        network.last.weight.zero_()
        network.last.bias.fill_(float(np.log(2)))  # of the root of the local mean, which would be right
    lights = np.geomspace(3, 30, 20)
    recalibrate_error_bars(network, [even(rng, float(light)) for light in lights], gain=1.0)
    fresh = even(rng, 10.3, 96)
    counts = torch.from_numpy(fresh.exposed.counts)[None, None]
    with torch.no_grad():
        found = network(counts, counts)[0, 0].numpy()
    assert float((fresh.error <= found).mean()) == pytest.approx(0.683, abs=0.08)
    assert float((fresh.error <= 2 * found).mean()) == pytest.approx(0.954, abs=0.04)


@pytest.mark.slow
def test_photons_set_aside_measure_the_error(identity: Bundle, tmp_path: Path) -> None:
    """Of half of an even light of 8 photons the identity's squared error is 4 photons squared."""
    judged, path = Judged.of(identity), tmp_path / "even.tif"
    counts = np.random.default_rng(1).poisson(8.0, (12, 80, 80)).astype(np.uint16)
    tifffile.imwrite(path, counts, metadata={"axes": "TYX"})
    counts_per_photon = judged.counts_per_photon
    for factor, expected in ((1.0, 1.0), (2.0, 0.25)):
        bar = factor * 2.0 * counts_per_photon

        def deviation(shown: np.ndarray, prediction: np.ndarray, bar: float = bar) -> np.ndarray:
            return np.full(shown.shape, bar, np.float32)

        whole, darker, brighter = judge_movie(judged, deviation, path, seed=0)
        assert whole.variance_ratio == pytest.approx(expected, abs=5 * whole.ratio_error)
        assert whole.frames == 12
        assert (darker.part, brighter.part) == ("darker half", "brighter half")
        if factor == 1.0:
            assert whole.within_one == pytest.approx(0.683, abs=0.02)
            assert whole.within_two == pytest.approx(0.954, abs=0.02)
            assert whole.without_one < 0.55  # without the bar there are too few


@pytest.mark.slow
def test_movies_alone_teach_the_size_of_the_error(identity: Bundle, tmp_path: Path) -> None:
    effort = Effort(steps=100, batch=4, patch_px=48)
    wanted = Wanted(movies=(movie(tmp_path / "m.tif", 4.0),), effort=effort)
    made, rows = add_error_bar(identity.source, tmp_path / "new.zip", wanted)
    assert made.error_bar is not None
    assert (rows, made.error_bar.record.coverage) == ([], ())
    assert "m.tif" in made.error_bar.record.method
    frame = np.random.default_rng(9).poisson(4.0, (64, 64)).astype(np.float32)
    found = deviation_of(made.error_bar.onnx, made)(frame, frame)
    assert float(np.sqrt((found**2).mean())) == pytest.approx(GAIN * 2.0, rel=0.35)


@pytest.mark.slow
def test_a_new_scale_takes_the_error_bar_with_it(identity: Bundle, tmp_path: Path) -> None:
    made, _ = add_error_bar(identity.source, tmp_path / "a", QUICK)
    with open_draft(made.source) as draft:
        scaled = with_error_bar_rescaled(draft, 3.0)
        again = write_bundle(
            tmp_path / "b", replace(scaled, gain=3 * draft.gain, test_output=3 * draft.test_output)
        )
    assert made.error_bar is not None
    assert again.error_bar is not None
    np.testing.assert_allclose(again.error_bar.test_output, 3 * made.error_bar.test_output, rtol=1e-6)
    run = deviation_of(again.error_bar.onnx, again)
    check_error_bar(again, lambda c, p: run(c[0, 0], p[0, 0])[None, None] / 6, again.test_input)
    assert again.error_bar.record.coverage == ()


@pytest.mark.slow
def test_the_commands_write_tables_and_a_picture(
    identity: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, new = str(identity.source), str(tmp_path / "new")
    assert main(["error-bar", source, "--out", new, "--steps", "3", "--frames", "8", "--held-back", "1"]) == 0
    path = movie(tmp_path / "m.tif", 2.0)
    command = ["error-bar-check", new, "--out", str(tmp_path / "r"), "--frames", "2", "--movies", str(path)]
    assert main(command) == 0
    assert "second world" in capsys.readouterr().out
    found = json.loads((tmp_path / "r" / "error_bars.json").read_text())
    assert [row["part"] for row in found["movies"]] == ["whole", "darker half", "brighter half"]
    assert (tmp_path / "r" / "error_bars.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "r" / "error_bars.csv").read_text().startswith("world,lowest_photons")


@pytest.mark.slow
def test_what_cannot_be_checked_is_refused(
    identity: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["error-bar-check", str(identity.source), "--out", str(tmp_path / "r")]) == 2
    assert "has none" in capsys.readouterr().err
    made, _ = add_error_bar(identity.source, tmp_path / "new", QUICK)
    assert main(["error-bar-check", str(made.source), "--out", str(tmp_path / "r"), "--seed", "0"]) == 2
    assert "a different seed than that of the fit" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    assert read_bundle(identity.source).error_bar is None
