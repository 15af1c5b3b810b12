"""A quick audit with the bundle that ships."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from shipped import BUNDLE

from dimstream_models.training.cli import main


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a quick audit leaves, with two recorded files."""
    folder = tmp_path_factory.mktemp("audit")
    frames = tifffile.imread(BUNDLE / "sample" / "movie.ome.tif")
    tifffile.imwrite(folder / "lit.tif", frames[:5, :120, :120])
    tifffile.imwrite(folder / "<dark>.tif", np.random.default_rng(0).poisson(0.1, (80, 88)).astype(np.int32))
    out = folder / "deep" / "report"
    files = ["--signal", str(folder / "lit.tif"), "--dark", str(folder / "<dark>.tif")]
    assert main(["audit", str(BUNDLE), *files, "--out", str(out), "--quick", "--seed", "4"]) == 0
    return out
