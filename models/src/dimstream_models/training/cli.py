"""The command `dimstream-train`: from image pairs to a bundle, and the evaluation of its quality."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final

from dimstream_models.bundle import BundleError
from dimstream_models.extras import install_hint
from dimstream_models.training.commands import (
    adapt,
    adapt_live,
    audit,
    bench,
    calibrate,
    compare,
    error_bar,
    error_bar_check,
    evaluate,
    export,
    fit,
    forecast,
    import_ernet,
    import_keras,
    importance,
    init,
    prepare,
    search,
    segment,
    simulate,
    stress,
)
from dimstream_models.training.errors import NotBetter, NotInForce, TrainingError

COMMANDS = (
    simulate,
    init,
    prepare,
    fit,
    search,
    importance,
    calibrate,
    export,
    adapt,
    adapt_live,
    error_bar,
    error_bar_check,
    evaluate,
    compare,
    stress,
    audit,
    forecast,
    import_keras,
    segment,
    import_ernet,
    bench,
)
EXIT_CODES: Final[Mapping[type[Exception], int]] = {NotBetter: 3, NotInForce: 4}
"""Exit codes of errors that a script may handle; all others have 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    0 done, 2 refused or failed, 3 the adapted network is not better, 4 it is better but is not in use, 130
    stopped by Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run_command(arguments)
    except (TrainingError, BundleError) as error:
        print(f"dimstream-train: {error}", file=sys.stderr)
        return EXIT_CODES.get(type(error), 2)
    except ModuleNotFoundError as error:
        print(f"dimstream-train: {install_hint(error, 'dimstream-models')}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"dimstream-train: expected files and folders that can be read and written, got: {error}."
            " Check the path, its permissions and the space on its disk",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("dimstream-train: stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dimstream-train", description=__doc__)
    parser.add_argument(
        "--version", action="version", version=f"dimstream-train {version('dimstream-models')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
