"""The command ``dimstream``: stream, denoise, watch a folder, view volumes, list models, ping, make keys.

Exit codes: 0 done; 1 done, but frames are missing, files of a folder failed, or a crop leaves no plane;
2 wrong usage; 3 a file that cannot be read or written; 4 the server refused, is lost or silent; 5 the
sample stayed suspect (`--fail-on-suspect`); 130 interrupted. Errors are one line on stderr.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from dimstream_client import credentials
from dimstream_client.commands import denoise, micromanager, queries, stream, view, watch
from dimstream_client.commands.exit_codes import (
    INTERRUPTED,
    REFUSED,
    SUSPECT,
    UNREADABLE,
    USAGE,
    CommandRefused,
    say,
)
from dimstream_client.errors import DimstreamError, KeyFileError, SpoolError, TiffError
from dimstream_client.suspect_watch import StayedSuspect

_DESCRIPTION: Final = "Send microscopy frames to a dimstream server and get them back denoised."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # errors of files are reported in one line
    run = arguments.run
    try:
        return int(run(arguments))
    except ModuleNotFoundError as error:
        if (error.name or "dimstream_client").partition(".")[0] == "dimstream_client":
            raise
        return say(f'this needs {error.name}: pip install "dimstream-client[tiff]"', USAGE)
    except StayedSuspect as stayed:
        return say(str(stayed), SUSPECT)
    except CommandRefused as refusal:
        return say(str(refusal), refusal.code)
    except KeyboardInterrupt:
        return say("interrupted; what was written is complete up to there", INTERRUPTED)
    except TiffError as error:
        return say(f"{getattr(arguments, 'source', '')}: {error}", UNREADABLE)
    except (KeyFileError, SpoolError) as error:
        return say(str(error), UNREADABLE)
    except DimstreamError as error:
        return say(str(error), REFUSED)
    except OSError as error:
        where = error.filename or getattr(arguments, "out", "")  # a full disk names no file
        return say(f"{where}: {error.strerror or error}", UNREADABLE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dimstream", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"dimstream {version('dimstream-client')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (stream, denoise, watch, micromanager, queries, view):
        command.add(commands)
    credentials.add_keygen(commands)
    return parser
