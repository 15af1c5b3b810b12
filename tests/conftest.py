"""What every test may use: the folder of shared data and the bundle that ships."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data and reference fixtures (`DIMSTREAM_SHARED`, default `../shared`)."""
    folder = Path(os.environ.get("DIMSTREAM_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set DIMSTREAM_SHARED to the folder that holds data/")
    return folder
