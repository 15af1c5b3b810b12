"""Thresholds that a stream changes."""

import pytest

from dimstream_client.quality import Thresholds
from dimstream_server.errors import BadUpdate
from dimstream_server.pipeline.thresholds import changed


def test_new_thresholds_change_what_they_name() -> None:
    before = Thresholds(0.6, 5.0, 25.0, structure_score=5.0, split=0.4)
    after = changed(before, {"structure_score": 8.0, "split": 0.2})
    assert after == Thresholds(0.6, 5.0, 25.0, structure_score=8.0, split=0.2)


def test_thresholds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(BadUpdate, match="background_max <= signal_min"):
        changed(Thresholds(0.6), {"background_max": 30.0})
