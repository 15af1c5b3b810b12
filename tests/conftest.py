"""What every test may use: the folder of shared data and the bundle that ships."""

import gc
import logging
import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from skips import SkipLimit

import dimstream_models  # noqa: F401  # before ONNX Runtime, which it keeps from sending usage data

ROOT = Path(__file__).resolve().parents[1]

# napari takes 1.4 GB and a display: `make napari` has an environment of its own for it.
collect_ignore = [] if os.environ.get("DIMSTREAM_NAPARI") else ["napari_plugin"]

# The same examples in each run: few, in `make check` fewer; DIMSTREAM_HYPOTHESIS=long tries many other ones.
for name, max_examples in (("check", 15), ("short", 50)):
    hypothesis.settings.register_profile(
        name, max_examples=max_examples, derandomize=True, deadline=None, database=None, print_blob=True
    )
hypothesis.settings.register_profile("long", max_examples=5000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("DIMSTREAM_HYPOTHESIS", "short"))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(SkipLimit())


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Nearly all that is made meanwhile stays: the garbage collector would look through it for nothing."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the garbage collector from looking through modules and tests again and again: they stay."""
    gc.freeze()
    logging.getLogger().setLevel(logging.WARNING)  # pymmcore-plus sets it to DEBUG as it is imported


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where slow tests are left out, leave out files that hold nothing else: their imports take seconds."""
    if config.getoption("markexpr") != "not slow" or collection_path.suffix != ".py":
        return None
    return "\npytestmark = pytest.mark.slow\n" in collection_path.read_text() or None


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A command that a test runs in this process sets up the log of the process: take that back."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        if type(handler) is logging.StreamHandler:  # pytest's own ones are not
            root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)
    threading.excepthook = hook


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data and reference fixtures (`DIMSTREAM_SHARED`, default `../shared`)."""
    folder = Path(os.environ.get("DIMSTREAM_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}: set DIMSTREAM_SHARED to the folder that holds data/")
    return folder
