"""The standard's own software accepts what `write_bundle` writes."""

import gc
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from dimstream_models.bundle import Bundle, pack_bundle

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("bioimageio") is None, reason="needs bioimageio.core"),
    # bioimageio.spec 0.5.12 leaves the files that it hashes to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def collect_open_files() -> Iterator[None]:
    """While the filter above still holds, so that no later test is blamed."""
    yield
    gc.collect()


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_bioimageio_core_reproduces_the_test_output(written: Bundle, tmp_path: Path, packed: bool) -> None:
    source = written.source / "bioimageio.yaml"
    if packed:
        source = tmp_path / "tiny-unet.zip"
        pack_bundle(written.source, source)
    from bioimageio.core import test_model as test_with_core

    summary = test_with_core(source)
    assert summary.status == "passed", summary.format()
