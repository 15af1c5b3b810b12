"""Thresholds that a stream changes."""

import pytest

from dimstream_server.errors import BadUpdate
from dimstream_server.pipeline.flags import NewThresholds, Thresholds


def test_new_thresholds_change_what_they_name() -> None:
    before = Thresholds(0.6, 5.0, 25.0, structure_score=5.0, split=0.4)
    after = NewThresholds(structure_score=8.0, split=0.2).over(before)
    assert after == Thresholds(0.6, 5.0, 25.0, structure_score=8.0, split=0.2)


def test_thresholds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(BadUpdate, match="background_max <= signal_min"):
        NewThresholds(background_max=30.0).over(Thresholds(0.6))
