"""Recordings of small frames whose pixels follow from their number."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))  # the child processes of these tests import it, too

from frames import make_recorder

from dimstream_server.recording import Recorder


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    made = make_recorder(tmp_path / "recordings")
    yield made
    made.close()


@pytest.fixture
def read() -> Callable[[Path], NDArray[Any]]:
    """Every page of a TIFF as tifffile reads it, whatever its metadata says."""
    import tifffile

    def pages(path: Path) -> NDArray[Any]:
        with tifffile.TiffFile(path) as file:
            return np.stack([page.asarray() for page in file.pages])

    return pages
