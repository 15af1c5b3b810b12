"""The flags of the bundle that ships: on fields with nothing in common, and on real movies of one field."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from shipped import BUNDLE

from dimstream_models.bundle import read_bundle
from dimstream_models.training.audit.judged_movies import FollowedFrame, MovieFollower

pytestmark = pytest.mark.slow


def _follow(movie: NDArray[np.uint16]) -> list[FollowedFrame]:
    return list(MovieFollower(read_bundle(BUNDLE)).follow(movie))


def _flags(frames: list[FollowedFrame]) -> list[str]:
    return [one.record.outcome.decision.flag for one in frames]


def test_no_field_is_believed_because_of_another(shared: Path) -> None:
    fields = tifffile.imread(shared / "14_sim_er_sted" / "pairs_low.tif")[:16]
    assert _flags(_follow(fields)) == ["unjudged", *["suspect"] * 15]


@pytest.mark.parametrize("movie", ["area002_003", "syt_control_002", "syt_triggered_001"])
def test_a_real_sample_raises_no_alarm(shared: Path, movie: str) -> None:
    frames = _follow(tifffile.imread(shared / "06_sted_live_movies" / f"{movie}.tif"))
    assert _flags(frames) == ["unjudged", *["ok"] * (len(frames) - 1)]
    assert min(one.record.metrics.correlation or 0 for one in frames[1:]) > 0.7
