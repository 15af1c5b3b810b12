"""The audit judges as the service does: the same movie through the real engine and through the follower."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from shipped import BUNDLE

from dimstream_models.bundle import Bundle, read_bundle
from dimstream_models.judging import raw_findings
from dimstream_models.training.audit.decision import Margins
from dimstream_models.training.audit.judged_movies import FollowedFrame, MovieFollower
from dimstream_models.training.errors import CannotEvaluate
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import EngineResult, FrameTask, StreamSpec

pytestmark = pytest.mark.slow

EVERY = 2
SECONDS = 60
ADJACENT = slice(26, 36)  # of the sample movie: the stage leaves the cell at frame 30


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The bundle that ships, judging by split photons as well, with its sample movie's own threshold."""
    shipped = read_bundle(BUNDLE)
    assert shipped.config is not None
    thresholds = shipped.thresholds.model_copy(update={"split": 0.4})
    return replace(shipped, config=shipped.config.model_copy(update={"thresholds": thresholds}))


@pytest.fixture(scope="module")
def movie() -> NDArray[np.uint16]:
    """Ten frames, 250 x 243 px so that padding takes part, the last of them a step aside."""
    frames = tifffile.imread(BUNDLE / "sample" / "movie.ome.tif")[ADJACENT].copy()
    frames[2] = np.roll(frames[2], (9, -6), (0, 1))
    return np.ascontiguousarray(frames[:, :250, :243])


@pytest.fixture(scope="module")
def served(bundle: Bundle, movie: NDArray[np.uint16]) -> Iterator[list[EngineResult]]:
    engine = LocalEngine([bundle], threads=1)
    spec = StreamSpec(bundle.id, movie.shape[1:], "uint16", deliver_maps=True, split_every=EVERY)
    stream = engine.open(spec)
    futures = [engine.submit(stream, FrameTask(seq, frame, seq)) for seq, frame in enumerate(movie)]
    yield [future.result(SECONDS) for future in futures]
    engine.drain().result(SECONDS)


@pytest.fixture(scope="module")
def followed(bundle: Bundle, movie: NDArray[np.uint16]) -> list[FollowedFrame]:
    return list(MovieFollower(bundle, split_every=EVERY).follow(movie))


def test_flags_reasons_and_notes_are_the_services(
    served: list[EngineResult], followed: list[FollowedFrame]
) -> None:
    ours = [each.record.outcome.decision for each in followed]
    assert [each.flag for each in ours] == [result.flag for result in served]
    assert [each.reason for each in ours] == [result.reason for result in served]
    assert [each.notes for each in ours] == [result.quality.notes for result in served if result.quality]
    assert {"ok", "suspect"} <= {each.flag for each in ours}  # so that there is something to differ in


def test_scores_are_the_services(served: list[EngineResult], followed: list[FollowedFrame]) -> None:
    for result, each in zip(served, followed, strict=True):
        record, metrics, quality = each.record, each.record.metrics, result.quality
        assert quality is not None
        assert result.fractions is not None
        pairs: list[tuple[str, Any, Any]] = [
            ("ssim", result.ssim_prev, metrics.ssim),
            ("aligned", quality.ssim_aligned, metrics.ssim_aligned),
            ("structure_score", quality.structure_score, metrics.structure_score),
            ("background", result.fractions.background, metrics.background),
            ("uncertain", result.fractions.uncertain, record.uncertain),
            ("signal", result.fractions.signal, record.signal),
            ("unsupported", quality.unsupported_fraction, record.unsupported_fraction),
            ("p_signal", quality.p_signal, record.outcome.decision.p_signal),
            ("p_dark", quality.p_dark, record.outcome.decision.p_dark),
            ("split", quality.split.ssim if quality.split else None, metrics.split_ssim),
        ]
        for name, theirs, ours in pairs:
            assert (theirs is None) == (ours is None), (name, record.seq)
            if theirs is not None:
                assert ours == pytest.approx(theirs, abs=1e-3), (name, record.seq)
        assert quality.shift_px == record.shift
        assert quality.suspect_since == record.outcome.suspect_since


def test_maps_are_the_services(served: list[EngineResult], followed: list[FollowedFrame]) -> None:
    for result, each in zip(served, followed, strict=True):
        ours = each.support if each.with_split is None else each.with_split
        assert result.support is not None
        assert (each.with_split is not None) == (each.record.seq % EVERY == 0)
        assert np.mean(ours != result.support) < 1e-3  # rounding at the edge of what is predicted


@pytest.mark.parametrize("shown", [False, True])
def test_a_rule_that_changes_does_so_in_the_service_and_in_the_audit(
    bundle: Bundle, movie: NDArray[np.uint16], monkeypatch: pytest.MonkeyPatch, shown: bool
) -> None:
    """Both gather and judge by the same code: `dimstream_models.judging`."""
    monkeypatch.setattr(raw_findings, "has_outlier", lambda photons: shown)
    engine = LocalEngine([bundle], threads=1)
    stream = engine.open(StreamSpec(bundle.id, movie.shape[1:], "uint16"))
    served = engine.submit(stream, FrameTask(0, movie[0], 0)).result(SECONDS)
    engine.drain().result(SECONDS)
    (followed,) = MovieFollower(bundle).follow(movie[:1])
    assert served.quality is not None
    assert ("outlier_pixel" in served.quality.notes) is shown
    assert ("outlier_pixel" in followed.record.outcome.decision.notes) is shown


def test_without_a_split_check_the_flag_is_the_same(bundle: Bundle, movie: NDArray[np.uint16]) -> None:
    for each in MovieFollower(bundle).follow(movie[:4]):
        assert each.record.outcome == each.record.alone
        assert each.record.metrics.split_ssim is None
        assert each.with_split is None


def test_the_decision_is_below_zero_where_the_frame_is_suspect(followed: list[FollowedFrame]) -> None:
    for each in followed[1:]:
        flag = each.record.alone.decision.flag
        assert (each.record.alone.margin < 0) == (flag == "suspect"), each.record.seq


def test_predictions_that_are_no_numbers_are_refused(bundle: Bundle) -> None:
    def broken(counts: NDArray[Any]) -> NDArray[np.float32]:
        return np.full(counts.shape, np.nan, np.float32)

    follower = MovieFollower(bundle, broken)
    with pytest.raises(CannotEvaluate, match="frame 0 gave nan"):
        list(follower.follow(np.ones((1, 32, 32), np.uint16)))


def test_a_margin_is_a_share_of_what_is_possible(followed: list[FollowedFrame], bundle: Bundle) -> None:
    criteria = MovieFollower(bundle, lambda counts: counts).criteria
    assert criteria.ssim is not None
    metrics = replace(followed[1].record.metrics, split_ssim=None, structure_score=1e9, ssim_aligned=None)
    metrics = replace(metrics, unsupported_fraction=0.2)
    middle = (1 + criteria.ssim) / 2
    margins = Margins(criteria, split_every=0)
    assert margins.decide(0, replace(metrics, ssim=middle)) == pytest.approx(0.5)
    assert margins.decide(1, replace(metrics, ssim=-1.0)) == pytest.approx(0.5)  # the median's
    assert margins.decide(2, replace(metrics, ssim=middle, structure_score=0.0)) == pytest.approx(-1.0)
    # compared with a frame without structure: what is unsupported decides
    assert margins.decide(3, replace(metrics, ssim=-1.0)) == pytest.approx(0.75)
