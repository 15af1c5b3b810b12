"""The README's commands and snippets, run as they stand there, in their order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from shipped import BUNDLE

from dimstream_server.server_process import RunningServer

README = Path(__file__).parents[2] / "README.md"
CLIENT = Path(__file__).parents[2] / "client" / "README.md"
ANALYSIS = "dimstream-analyse"
"""Its commands are those of the tutorial, which tests/system/test_analysis_tutorial.py runs."""
BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)


def blocks(page: Path, *without: str) -> list[tuple[str, str]]:
    """Language and text of the blocks, but of those that hold one of `without`."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    kept = [(language, text) for language, text in found if not any(word in text for word in without)]
    assert len(found) - len(kept) == len(without), "each of them is in one block"
    return kept


def run(language: str, text: str, folder: Path, server: RunningServer) -> str:
    """Run a block in a folder that looks like the repository after `make demo`; what it prints."""
    text = text.replace("tcp://127.0.0.1:5570", server.zmq).replace("http://127.0.0.1:8570", server.http)
    command = (
        [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
    )
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, f"{text}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    return ended.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a visitor has after `make demo`."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "movie.ome.tif").write_bytes((BUNDLE / "sample" / "movie.ome.tif").read_bytes())
    return tmp_path


@pytest.mark.slow
def test_the_snippets_of_the_readme_do_what_it_says(checkout: Path, server: RunningServer) -> None:
    printed = []
    for language, text in blocks(README, "make demo", "dimstream-server serve", "import napari", ANALYSIS):
        if "denoised.flags.jsonl" in text:  # of the demo, which is made by the first command
            for made in checkout.glob("denoised.*"):
                made.rename(checkout / "demo" / made.name)
            text += "\nprint(usable)"
        printed.append(run(language, text, checkout, server))
    streamed, received, posted, usable = printed
    assert "36 ok, 10 suspect, 2 unjudged, suspect from frame 30 to frame 39" in streamed
    assert [line.split()[1] for line in received.splitlines()].count("ok") == 36
    assert '"flag":"suspect"' in posted.replace(" ", "")
    assert len(usable.split(",")) == 36


def test_the_first_snippet_of_the_client_runs(tmp_path: Path, server: RunningServer) -> None:
    (language, text), *_ = blocks(CLIENT)
    assert run(language, text, tmp_path, server).split().count("suspect") == 5
