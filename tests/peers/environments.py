"""Virtual environments of peers: made once, and made again when what belongs in them changes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from peers.contenders import Environment

INSTALL_S = 1200
_DONE = "installed.txt"


class NotInstalled(Exception):
    """A peer cannot be had here; the text is the reason."""


def python_of(environment: Environment, folder: Path) -> Path:
    """Python of the environment, which is made under `folder` where it is not yet.

    Raises
    ------
    NotInstalled
        pip says why.
    """
    home = folder / environment.name
    wanted = [*environment.requirements, f"onnxruntime=={metadata.version('onnxruntime')}"]
    what = "\n".join(wanted)
    python = home / "bin" / "python"
    done = home / _DONE
    if done.exists() and done.read_text(encoding="utf-8") == what:
        return python
    shutil.rmtree(home, ignore_errors=True)
    print(f"installing {' '.join(wanted)} into {home} ...", flush=True)
    _run([sys.executable, "-m", "venv", str(home)])
    _run([str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *wanted])
    done.write_text(what, encoding="utf-8")
    return python


def versions_in(environment: Environment, python: Path) -> dict[str, str]:
    """Versions of what is shown of an environment."""
    program = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    found = subprocess.run(
        [str(python), "-c", program, *environment.shown], capture_output=True, text=True, check=True
    )
    return dict(zip(environment.shown, found.stdout.split(), strict=True))


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"its installation took more than {INSTALL_S} s") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotInstalled(errors[-1] if errors else f"{command[0]} ended with {done.returncode}")
