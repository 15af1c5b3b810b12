"""Installs what pip is told to install, by uv: `python .ci/install.py pip's words`.

uv takes a fifth of pip's time, but knows none of pip's settings, so they are handed on: indexes, folders of
wheels, constraints, certificates. Where uv fails, that is told, and pip does it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
# a setting of pip, and the option of uv; each may have several values
_OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "constraint": "--constraint",
    "trusted-host": "--allow-insecure-host",
}
_SETTING = re.compile(r"^[\w:]+\.([\w-]+)='(.*)'$", re.MULTILINE)


def options_of(settings: str) -> list[str]:
    """Options of uv for what `pip config list` prints.

    Of several indexes pip takes the best version, whichever has it; uv is told to do so, too.
    """
    options = ["--index-strategy", "unsafe-best-match"]
    for key, values in dict.fromkeys(_SETTING.findall(settings)):
        if key in _OPTIONS:
            for value in re.sub(r"\\n", " ", values).split():
                options += [_OPTIONS[key], value]
    return options


def main(words: list[str]) -> int:
    """Install by uv, or else by pip; the exit status of the last one."""
    listed = subprocess.run([*_PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    certificates = dict(_SETTING.findall(listed)).get("cert")
    around = {**os.environ} if certificates is None else {"SSL_CERT_FILE": certificates, **os.environ}
    uv = [sys.executable, "-m", "uv", "--no-config", "pip", "install", "--quiet", "--python", sys.executable]
    failed = subprocess.run([*_PIP, "install", "--quiet", "-c", ".ci/constraints.txt", "uv"]).returncode
    if not failed and not subprocess.run([*uv, *options_of(listed), *words], env=around).returncode:
        return 0
    print("uv could not install it (why stands above); pip does it now, which takes longer", file=sys.stderr)
    return subprocess.run([*_PIP, "install", "--quiet", "--no-compile", *words]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
