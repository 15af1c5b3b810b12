"""Two measurement days on disk, and what `prepare` makes of them."""

from pathlib import Path

import pytest
from training.pairs.experiments import write_day

from dimstream_models.training.pairs.prepare_folder import prepare
from dimstream_models.training.pairs.prepared import Prepared, PrepareSettings


@pytest.fixture(scope="session")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two measurement days of four and three fields, drifted by (1.4, -2.3) px."""
    root = tmp_path_factory.mktemp("days")
    return [
        write_day(root / f"day-{n + 1}", seeds, (1.4, -2.3))
        for n, seeds in enumerate((range(4), range(4, 7)))
    ]


@pytest.fixture(scope="session")
def prepared(two_days: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Day 1 for training and validation, day 2 for the test."""
    out = tmp_path_factory.mktemp("prepared") / "pairs"
    return prepare(two_days, out, PrepareSettings(test_days=("day-2",)))
