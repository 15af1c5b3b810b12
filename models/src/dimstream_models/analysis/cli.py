"""The command `dimstream-analyse`: measures the ER in denoised movies."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from dimstream_models.analysis.commands import (
    compare,
    dose_effect,
    follow,
    report,
    run,
    segmenter_check,
    video,
    volume,
)
from dimstream_models.analysis.errors import AnalysisError
from dimstream_models.bundle import BundleError
from dimstream_models.extras import install_hint

COMMANDS = (run, follow, report, video, volume, compare, dose_effect, segmenter_check)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 2 refused or failed, 130 stopped by Ctrl-C."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run_command(arguments)
    except (AnalysisError, BundleError) as error:
        print(f"dimstream-analyse: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"dimstream-analyse: {install_hint(error, 'dimstream-models')}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"dimstream-analyse: expected files and folders that can be read and written, got: {error}."
            " Check the path, its permissions and the space on its disk",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("dimstream-analyse: stopped; give the same command to continue", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dimstream-analyse", description=__doc__)
    parser.add_argument(
        "--version", action="version", version=f"dimstream-analyse {version('dimstream-models')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
