"""What the engine says of each frame beyond its flag, on movies in which something goes wrong."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dimstream_models.bundle import Bundle, DimstreamConfig, Thresholds
from dimstream_models.quality.support_map import CLASS, PREDICTED, UNSUPPORTED
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import Engine, EngineResult, FrameTask, StreamSpec

BundleMaker = Callable[..., Bundle]
Counts = NDArray[np.uint16]
SHAPE = (128, 144)
SPEC = StreamSpec("blur", SHAPE, "uint16")
SECONDS = 30


def _light(seed: int = 0, *, shift: tuple[int, int] = (0, 0)) -> NDArray[np.float64]:
    """Lines, 4 px wide, on a dark ground; `shift` moves them."""
    field = np.random.default_rng(seed).normal(size=(260, 280))
    smooth = gaussian_filter(field, 4)[60 - shift[0] : 188 - shift[0], 60 - shift[1] : 204 - shift[1]]
    return np.asarray(12 * np.exp(-((smooth / 0.012) ** 2)))


def _expose(light: NDArray[np.float64] | float, seed: int, background: float = 0.05) -> Counts:
    light = np.broadcast_to(np.asarray(light), SHAPE)
    return np.random.default_rng((seed, 77)).poisson(light + background).astype(np.uint16)


@pytest.fixture(scope="module")
def engine(tiny_bundle: BundleMaker) -> Iterator[Engine]:
    bundle = tiny_bundle("blur")
    limits = Thresholds(ssim=0.3, background_max=5, signal_min=25, window_px=10, split=0.3)
    config = DimstreamConfig.model_construct(ssim=bundle.ssim, thresholds=limits)
    engine = LocalEngine([tiny_bundle("blur", config=config)], threads=1)
    yield engine
    engine.drain().result(SECONDS)


def _follow(engine: Engine, frames: list[Counts], **spec: Any) -> list[EngineResult]:
    stream = engine.open(StreamSpec(**{"model": "blur", "shape": SHAPE, "in_dtype": "uint16"} | spec))
    futures = [engine.submit(stream, FrameTask(seq, frame, seq)) for seq, frame in enumerate(frames)]
    results = [future.result(SECONDS) for future in futures]
    engine.close(stream).result(SECONDS)
    return results


def _flags(results: list[EngineResult]) -> list[str]:
    return [result.flag for result in results]


def _notes(results: list[EngineResult]) -> list[tuple[str, ...]]:
    return [() if result.quality is None else result.quality.notes for result in results]


def test_a_steady_sample_is_ok_and_its_prediction_supported(engine: Engine) -> None:
    results = _follow(engine, [_expose(_light(), seq) for seq in range(5)])
    assert _flags(results) == ["unjudged", "ok", "ok", "ok", "ok"]
    for result in results:
        assert result.quality is not None
        assert result.quality.structure_score > 20
        assert result.quality.unsupported_fraction < 0.1
        assert (result.quality.suspect_since, result.quality.notes, result.quality.split) == (None, (), None)
        assert result.support is None


def test_a_frame_is_not_ok_whose_prediction_no_photons_support(tiny_bundle: BundleMaker) -> None:
    light = np.where(np.arange(SHAPE[0])[:, None] < SHAPE[0] // 2 - 8, _light(), 0)
    frames = [_expose(light, seq) for seq in range(4)]
    limits = Thresholds(ssim=0.1, background_max=5, signal_min=25, window_px=10, split=0.1)
    config = DimstreamConfig.model_construct(ssim=tiny_bundle().ssim, thresholds=limits)
    engine = LocalEngine(
        [tiny_bundle(kind, id=kind, config=config) for kind in ("identity", "flipping")], threads=1
    )
    right, wrong = (
        _follow(engine, frames, model=kind, split_every=2, deliver_maps=True)
        for kind in ("identity", "flipping")
    )
    assert _flags(right)[1:] == ["ok"] * 3
    assert _flags(wrong) == ["suspect"] * 4
    assert "no photons support 100% of the predicted signal" in str(wrong[3].reason)
    for result in wrong:
        assert result.quality is not None
        assert result.quality.unsupported_fraction > 0.99
        assert "unsupported" in result.quality.notes
        assert result.quality.structure_score > 20
        assert result.support is not None
        predicted, lacking = (result.support & PREDICTED) > 0, (result.support & UNSUPPORTED) > 0
        assert (predicted == lacking).mean() > 0.99
    engine.drain().result(SECONDS)


def test_a_dead_signal_is_suspect_at_once_and_since_then(engine: Engine) -> None:
    frames = [_expose(_light(), seq) for seq in range(3)] + [_expose(0, seq, 2.0) for seq in range(3, 8)]
    results = _follow(engine, frames)
    assert _flags(results)[3:] == ["suspect"] * 5
    assert all("no structure" in str(result.reason) for result in results[3:])
    qualities = [result.quality for result in results[3:]]
    assert [quality.suspect_since for quality in qualities if quality] == [3] * 5
    assert [quality.unsupported_fraction for quality in qualities if quality] == [1.0] * 5
    assert all(abs(quality.structure_score) < 4 for quality in qualities if quality)


def test_a_drifting_sample_is_aligned(engine: Engine) -> None:
    frames = [_expose(_light(shift=(5 * seq, -3 * seq)), seq) for seq in range(6)]
    results = _follow(engine, frames)
    assert _flags(results)[1:] == ["ok"] * 5
    for result in results[1:]:
        assert result.quality is not None
        assert result.quality.shift_px == pytest.approx((5, -3), abs=1)
        assert result.ssim_prev is not None
        assert (result.quality.ssim_aligned or 0) > result.ssim_prev + 0.2
        assert result.quality.notes == ("moved",)


def test_a_jump_of_the_stage_is_one_unjudged_frame(engine: Engine) -> None:
    frames = [_expose(_light(0 if seq < 4 else 1), seq) for seq in range(8)]
    results = _follow(engine, frames)
    assert _flags(results) == ["unjudged", "ok", "ok", "ok", "unjudged", "ok", "ok", "ok"]
    assert "jump" in str(results[4].reason)
    assert _notes(results)[4] == ("jump",)


def test_hot_pixels_are_no_signal_however_alike_predictions_are(engine: Engine) -> None:
    frames = [_expose(0, seq) for seq in range(5)]
    rng = np.random.default_rng(9)
    hot = np.where(rng.random(SHAPE) < 0.03, rng.integers(20, 51, SHAPE), 0)  # 50: taken for light
    for frame in frames:
        frame += hot.astype(np.uint16)
        frame.clip(None, 50, out=frame)
    results = _follow(engine, frames)
    assert _flags(results) == ["suspect"] * 5
    assert (results[3].ssim_prev or 0) > 0.7
    assert _notes(results)[3] == ("fixed_pattern",)


def test_brighter_ones_are_replaced_and_told(engine: Engine) -> None:
    frames = [_expose(0, seq) for seq in range(5)]
    for frame in frames:
        frame[40, 50] = 60000
    results = _follow(engine, frames)
    assert _flags(results) == ["suspect"] * 5
    assert _notes(results)[3] == ("outlier_pixel",)
    assert max(int(result.pixels.max()) for result in results if result.pixels is not None) < 100
    assert [int(frame[40, 50]) for frame in frames] == [60000] * 5  # what came stays as it came


@pytest.mark.parametrize("level", [0.3, 3, 30])
def test_empty_fields_are_suspect_however_bright_and_shaded(engine: Engine, level: float) -> None:
    shading = np.broadcast_to(level * np.linspace(0.4, 1.6, SHAPE[1]), SHAPE)
    assert _flags(_follow(engine, [_expose(shading, seq) for seq in range(6)])) == ["suspect"] * 6


def test_half_an_empty_field_is_ok_and_its_classes_say_which_half(engine: Engine) -> None:
    half = _light()
    half[:, 72:] = 0
    results = _follow(engine, [_expose(half, seq) for seq in range(4)], deliver_maps=True)
    assert _flags(results)[1:] == ["ok"] * 3
    for result in results:
        assert result.support is not None
        assert (result.support[:, 90:] & CLASS == 2).mean() < 0.02
        assert (result.support[:, :60] & CLASS == 2).mean() > 0.6
        assert result.quality is not None
        assert result.quality.unsupported_fraction < 0.1


def test_the_map_names_what_is_predicted_without_photons(engine: Engine) -> None:
    (result,) = _follow(engine, [_expose(0, 1)], deliver_maps=True)
    assert result.support is not None
    assert (result.support.shape, result.support.dtype) == (SHAPE, np.uint8)
    predicted = result.support & PREDICTED > 0
    assert predicted.any()
    assert (result.support & UNSUPPORTED > 0)[predicted].all()
    assert not (result.support & UNSUPPORTED)[~predicted].any()


def test_saturated_frames_are_suspect_and_say_so(engine: Engine) -> None:
    frames = [np.minimum(_expose(_light(), seq), 9) for seq in range(3)]
    results = _follow(engine, frames)
    assert _flags(results) == ["suspect"] * 3
    assert _notes(results)[2] == ("saturated",)


def test_bleaching_is_noted_before_nothing_is_left(engine: Engine) -> None:
    frames = [_expose(_light() * 0.85**seq, seq) for seq in range(40)]
    results = _follow(engine, frames)
    fading = next(seq for seq, notes in enumerate(_notes(results)) if "fading" in notes)
    suspect = _flags(results).index("suspect")
    assert fading < suspect < 40
    assert _flags(results)[suspect:] == ["suspect"] * (40 - suspect)


def test_long_intervals_are_noted(engine: Engine) -> None:
    frames = [_expose(_light(seq), seq) for seq in range(4)]  # another field in every frame
    results = _follow(engine, frames, frame_interval_s=60.0)
    assert _flags(results) == ["unjudged", "suspect", "suspect", "suspect"]  # no interval in this calibration


def test_the_split_check_judges_a_frame_without_a_neighbour(engine: Engine) -> None:
    signal, empty = _expose(_light(), 1), _expose(0, 1)
    for frame, flag in ((signal, "ok"), (empty, "suspect")):
        (result,) = _follow(engine, [frame], split_every=1)
        assert result.quality is not None
        assert result.quality.split is not None
        assert result.flag == flag
        assert result.quality.split.refused is None
        assert result.quality.split.t_ms > 0
    (again,) = _follow(engine, [empty], split_every=1)
    assert again.quality is not None
    assert again.quality.split is not None
    assert again.quality.split.ssim == result.quality.split.ssim


def test_the_photons_of_every_nth_time_point_are_split(engine: Engine) -> None:
    results = _follow(engine, [_expose(_light(), seq) for seq in range(7)], split_every=3)
    asked = [result.quality is not None and result.quality.split is not None for result in results]
    assert asked == [True, False, False, True, False, False, True]
    assert _flags(results) == ["ok"] * 7


def test_a_sample_that_changes_in_every_frame_is_confirmed(engine: Engine) -> None:
    frames = [_expose(_light(seq), seq) for seq in range(6)]
    assert _flags(_follow(engine, frames))[1:] == ["suspect"] * 5
    confirmed = _follow(engine, frames, split_every=2)
    assert _flags(confirmed) == ["ok"] * 6
    assert "changing" in _notes(confirmed)[4]


def test_values_that_are_no_photons_are_refused_and_the_flag_says_so(engine: Engine) -> None:
    frames = [_expose(_light(), seq).astype(np.float32) * 1.5 for seq in range(2)]
    first, second = _follow(engine, frames, in_dtype="float32", split_every=1)
    assert first.quality is not None
    assert first.quality.split is not None
    assert "between whole numbers" in (first.quality.split.refused or "")
    assert (first.flag, second.flag) == ("unjudged", "unjudged")
    assert (first.reason or "").startswith("first frame; no photon counts: values between whole numbers")
    assert (second.reason or "").startswith("no photon counts: values between whole numbers")


def test_planes_of_a_stack_are_compared_with_the_plane_above(engine: Engine) -> None:
    stream = engine.open(SPEC)
    results = []
    for seq, (t, z) in enumerate((t, z) for t in range(2) for z in range(3)):
        frame = _expose(_light(0 if z < 2 else 5), seq)
        results.append(engine.submit(stream, FrameTask(seq, frame, t, plane=(0, z, 0))).result(SECONDS))
    in_depth = [None if result.quality is None else result.quality.ssim_z for result in results]
    assert (in_depth[0], in_depth[3]) == (None, None)
    for start in (0, 3):
        alike, unlike = in_depth[start + 1], in_depth[start + 2]
        assert alike is not None
        assert unlike is not None
        assert alike > 0.5 > unlike
    assert _flags(results)[3:] == ["ok"] * 3  # each with its own plane of the time point before
    engine.close(stream).result(SECONDS)


@pytest.fixture(scope="module")
def patient(tiny_bundle: BundleMaker) -> Iterator[Engine]:
    """An engine whose frames are suspect by their structure alone."""
    bundle = tiny_bundle("blur")
    limits = Thresholds(ssim=-1.0, background_max=0.01, signal_min=25, window_px=10)
    config = DimstreamConfig.model_construct(ssim=bundle.ssim, thresholds=limits)
    engine = LocalEngine([tiny_bundle("blur", config=config)], threads=1)
    yield engine
    engine.drain().result(SECONDS)


def test_a_sample_that_bleaches_is_said_to_be_suspect_in_so_many_frames(patient: Engine) -> None:
    movie = [_expose(_light() * 0.9**seq, seq) for seq in range(60)]
    results = _follow(patient, movie, frame_interval_s=30.0)
    end = next(result.seq for result in results if result.flag == "suspect")
    foreseen = {result.seq: result.quality.forecast for result in results if result.quality is not None}
    assert all(foreseen[seq] is None for seq in range(7))
    assert foreseen[end] is None
    told = {seq: one for seq, one in foreseen.items() if one is not None and seq < end}
    assert len(told) > end / 2
    middle = told[end - 12]
    assert middle.latest is not None
    assert middle.earliest <= 12 <= middle.latest
    assert middle.minutes == pytest.approx(middle.frames / 2, abs=0.01)


def test_of_a_steady_sample_nothing_is_foreseen_and_without_an_interval_no_minutes(engine: Engine) -> None:
    steady = _follow(engine, [_expose(_light(), seq) for seq in range(30)])
    assert all(one.quality is not None and one.quality.forecast is None for one in steady)
    fading = _follow(engine, [_expose(_light() * 0.9**seq, seq) for seq in range(25)])
    forecasts = [one.quality.forecast for one in fading if one.quality is not None and one.quality.forecast]
    assert forecasts
    assert all(one.minutes is None for one in forecasts)
