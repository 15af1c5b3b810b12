"""The commands of `dimstream-train`, one module each; heavy modules are imported only when a command runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def positive(text: str) -> float:
    """Return a number of minutes above 0, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected minutes above 0, got {text}")
    return value


def print_warnings(bundle: Path) -> None:
    """Print the warnings about a bundle, at the end of the output; its model card contains them too."""
    from dimstream_models.training.export.warnings import warnings_of

    message = warnings_of(bundle)
    for each in message:
        print(f"warning: {each}", file=sys.stderr)
    if message:
        print(
            f"{len(message)} warning{'s' * (len(message) > 1)}; see also README.md in {bundle}",
            file=sys.stderr,
        )
