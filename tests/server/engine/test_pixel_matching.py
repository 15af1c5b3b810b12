"""Photons on finer pixels where the model knows only such, through the engine."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dimstream_models.bundle import Bundle, DimstreamConfig, ScaleLinear, Thresholds
from dimstream_models.quality.detector import Detector
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.pixel_matching import parts_of
from dimstream_server.engine.protocol import Engine, EngineLimits, EngineResult, FrameTask, StreamSpec
from dimstream_server.errors import BadUpdate, CannotMatchPixels, Oversize

BundleMaker = Callable[..., Bundle]
SHAPE = (40, 48)
MATCHED = StreamSpec("fine", SHAPE, "uint16", pixel_size_um=0.04, match_pixel_size=True)
SECONDS = 60


def _bundle(make: BundleMaker, name: str, known: tuple[float, float] | None) -> Bundle:
    limits = Thresholds(ssim=0.3, background_max=5, signal_min=25, window_px=10, structure_score=-1e6)
    config = DimstreamConfig.model_construct(ssim=make("blur").ssim, thresholds=limits, pixel_sizes_nm=known)
    return make("identity", id=name, config=config, postprocessing=(ScaleLinear(3.0, 1.0),))


@pytest.fixture(scope="module")
def engine(tiny_bundle: BundleMaker) -> Iterator[Engine]:
    known = {"fine": (16.0, 25.0), "finer": (9.0, 12.0), "silent": None}
    bundles = [_bundle(tiny_bundle, name, sizes) for name, sizes in known.items()]
    engine = LocalEngine(bundles, threads=1, limits=EngineLimits(frame_pixels=200 * 200), pairs_at_start=())
    yield engine
    engine.drain().result(SECONDS)


@pytest.fixture
def counts() -> NDArray[np.uint16]:
    return np.random.default_rng(3).poisson(4.0, SHAPE).astype(np.uint16)


def _answers(engine: Engine, spec: StreamSpec, *frames: NDArray[Any]) -> list[EngineResult]:
    stream = engine.open(spec)
    futures = [engine.submit(stream, FrameTask(seq, frame, seq)) for seq, frame in enumerate(frames)]
    answers = [future.result(SECONDS) for future in futures]
    engine.close(stream).result(SECONDS)
    return answers


def _spec(**changes: Any) -> StreamSpec:
    names = ("model", "shape", "in_dtype", "out_dtype", "pixel_size_um", "match_pixel_size", "deliver_maps")
    return StreamSpec(**({name: getattr(MATCHED, name) for name in names} | changes))


@pytest.mark.parametrize("out_dtype", ["uint16", "float32"])
def test_results_are_added_up_on_the_pixels_that_came(
    engine: Engine, counts: NDArray[np.uint16], out_dtype: str
) -> None:
    found = _answers(engine, _spec(out_dtype=out_dtype), counts)[0].pixels
    assert found is not None
    assert (found.shape, found.dtype) == (SHAPE, np.dtype(out_dtype))
    np.testing.assert_allclose(found, 3.0 * counts + 4 * 1.0, atol=1e-3)  # 4 finer pixels, each plus 1


def test_a_frame_of_another_size_has_a_note_and_one_that_was_matched_has_none(
    engine: Engine, counts: NDArray[np.uint16]
) -> None:
    def notes(**changes: Any) -> tuple[str, ...]:
        quality = _answers(engine, _spec(**changes), counts)[0].quality
        assert quality is not None
        return quality.notes

    assert "pixel_size" in notes(match_pixel_size=False)
    assert "pixel_size" in notes(match_pixel_size=False, pixel_size_um=0.015)
    assert "pixel_size" not in notes()
    assert "pixel_size" not in notes(match_pixel_size=False, pixel_size_um=0.02)
    assert "pixel_size" not in notes(match_pixel_size=False, pixel_size_um=None)
    assert "pixel_size" not in notes(match_pixel_size=False, model="silent")


def test_a_frame_gives_the_same_again(engine: Engine, counts: NDArray[np.uint16]) -> None:
    first, again = (_answers(engine, _spec(model="finer"), *2 * [counts]) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one.quality == other.quality
        assert (one.pixels == other.pixels).all()  # type: ignore[union-attr]
    assert first[1].ssim_prev != 1  # its photons fell elsewhere


def test_the_map_has_the_size_of_the_frame(engine: Engine, counts: NDArray[np.uint16]) -> None:
    found = _answers(engine, _spec(deliver_maps=True), counts)[0]
    assert found.support is not None
    assert found.support.shape == SHAPE


def test_saturation_is_looked_for_in_the_frame_that_came(engine: Engine, counts: NDArray[np.uint16]) -> None:
    burnt = counts.astype(np.uint8)
    burnt[10:14, 10:20] = 255
    quality = _answers(engine, _spec(in_dtype="uint8"), burnt)[0].quality
    assert quality is not None
    assert "saturated" in quality.notes


def test_values_between_whole_numbers_fail(engine: Engine, counts: NDArray[np.uint16]) -> None:
    spec = _spec(in_dtype="float32")
    bad, good = _answers(engine, spec, (counts + 0.5).astype(np.float32), counts.astype(np.float32))
    assert (bad.status, good.status) == ("failed", "done")
    assert "expected whole numbers" in str(bad.error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "silent"}, "a model that states its pixel sizes"),
        ({"pixel_size_um": None}, "expected pixel_size_um"),
    ],
)
def test_what_cannot_be_matched_is_refused(engine: Engine, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotMatchPixels, match=message):
        engine.open(_spec(**changes))


def test_estimates_of_photons_are_not_divided(engine: Engine) -> None:
    with pytest.raises(CannotMatchPixels, match="got offset and gain"):
        engine.open(StreamSpec(**{**_given(), "detector": Detector(100.0, 2.0)}))


def test_error_bars_of_finer_pixels_are_not_added_up(tiny_bundle: BundleMaker) -> None:
    spec = StreamSpec(**{**_given(), "deliver_sd": True})
    with pytest.raises(CannotMatchPixels, match="cannot be summed"):
        parts_of(spec, _bundle(tiny_bundle, "fine", (16.0, 25.0)))


def test_finer_frames_are_held_to_the_same_limit(engine: Engine) -> None:
    with pytest.raises(Oversize, match="divided into 4x4"):
        engine.open(_spec(model="finer", shape=(60, 60)))


def test_a_stream_is_not_changed_to_a_model_for_which_it_would_be_divided_otherwise(engine: Engine) -> None:
    stream = engine.open(MATCHED)
    with pytest.raises(BadUpdate, match="open a new stream"):
        engine.update(stream, 0, "finer")
    engine.close(stream).result(SECONDS)


def _given() -> dict[str, Any]:
    return {
        "model": "fine",
        "shape": SHAPE,
        "in_dtype": "uint16",
        "pixel_size_um": 0.04,
        "match_pixel_size": True,
    }
