"""What to install when an optional package is missing, from the metadata of a distribution."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from typing import Final

_EXTRA: Final = re.compile(r"^([A-Za-z0-9._-]+).*;.*\bextra == ['\"]([A-Za-z0-9._-]+)['\"]")
# packages that are imported by another name
_IMPORTS: Final = {
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "onnxruntime-gpu": "onnxruntime",
    "pyyaml": "yaml",
    "imageio-ffmpeg": "imageio_ffmpeg",
    "pillow": "PIL",
}


def install_hint(error: ModuleNotFoundError, distribution: str) -> str:
    """Return one sentence: which package is missing, and the command that installs it.

    Parameters
    ----------
    error : ModuleNotFoundError
        The error that the import raised.
    distribution : str
        The distribution whose code ran, such as "dimstream-server".

    Raises
    ------
    ModuleNotFoundError
        `error` itself, when the missing module belongs to `distribution`: this is a bug in dimstream.
    """
    module = (error.name or "").partition(".")[0]
    if module == distribution.replace("-", "_") or not module:
        raise error
    extras = [extra for extra, imported in _extras(distribution) if imported == module]
    if not extras:
        return f"{module} is missing, although {distribution} needs it; install {distribution} again"
    commands = [f'pip install "{distribution}[{extra}]"' for extra in extras]
    return f"this needs {module}, which is not installed: {' or '.join(commands)}"


def _extras(distribution: str) -> list[tuple[str, str]]:
    """Return (extra, name of the import) of each optional package."""
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return []
    found = [(match[2], match[1].lower()) for match in map(_EXTRA.match, lines) if match]
    return [(extra, _IMPORTS.get(name, name.replace("-", "_"))) for extra, name in found]
