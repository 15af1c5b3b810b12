"""Options of several commands, and the checks of their values."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from dimstream_client.header_checks import MAX_GAIN, MAX_OFFSET, MIN_GAIN


def add_files(command: argparse.ArgumentParser, *, is_out_needed: bool = True) -> None:
    """Add the options for input, output and denoising."""
    if is_out_needed:
        command.add_argument("source", type=some_path, metavar="IN", help="an image file, or a folder")
        command.add_argument(
            "out", type=some_path, metavar="OUT", help="the OME-TIFF to write; for a folder see above"
        )
    else:
        command.add_argument("source", type=some_path, metavar="FOLDER", help="the folder to watch")
        command.add_argument(
            "out", type=some_path, metavar="OUT", nargs="?", help="folder of the outputs (default: FOLDER)"
        )
    command.add_argument(
        "--overwrite", action="store_true", help="replace outputs, also files that dimstream did not write"
    )
    command.add_argument("--model", metavar="ID", help="model to use; needed if the server has several")
    command.add_argument(
        "--out-dtype",
        choices=("uint16", "float32"),
        default="uint16",
        help="type of the denoised pixels (default: uint16)",
    )
    command.add_argument(
        "--split-every", type=count, default=0, metavar="N",
        help="split-photon check of every N-th time point: denoise both halves of its photons and compare; "
        "1 also judges single images and z-stacks",
    )  # fmt: skip
    command.add_argument(
        "--offset", type=offset, metavar="O",
        help="value of the detector without light: photons are (value - O) / G (default: 0)",
    )  # fmt: skip
    command.add_argument("--gain", type=gain, metavar="G", help="detector units per photon (default: 1)")
    command.add_argument(
        "--match-pixel-size", action="store_true",
        help=(
            "distribute photons onto finer pixels if the model was trained only on those, and bin the "
            "results back"
        ),
    )  # fmt: skip
    command.add_argument(
        "--batch", action="store_true",
        help="work that can wait: the server processes the frames of all live streams first",
    )  # fmt: skip


def add_timeout(command: argparse.ArgumentParser, default_s: float | None, text: str = "%(default)s") -> None:
    """Add the option for the time to wait for an answer."""
    command.add_argument(
        "--timeout", type=patience, default=default_s, metavar="S",
        help=f"seconds to wait for an answer of the server (default: {text})",
    )  # fmt: skip


def add_outage(command: argparse.ArgumentParser) -> None:
    """Add the option for the time to wait after the connection is lost."""
    command.add_argument(
        "--outage", type=patience, default=math.inf, metavar="S",
        help="seconds to wait when the connection to the server is lost (default: without limit)",
    )  # fmt: skip


def some_path(text: str) -> Path:
    """Return a path that is not empty."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected the name of a file or folder, got {text!r}")
    return Path(text)


def seconds(text: str) -> float:
    """Return a number of seconds from 0."""
    value = float(text)
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def patience(text: str) -> float:
    """Return how many seconds to wait, more than 0."""
    value = seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("expected more than 0 seconds")
    return value


def files_at_once(text: str) -> int:
    """Return how many files to denoise at the same time, 1 to 64."""
    value = int(text)
    if not 1 <= value <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not a number of files from 1 to 64")
    return value


def milliseconds(text: str) -> float:
    """Return how many milliseconds an answer may take, more than 0."""
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of milliseconds")
    return value


def time_step(text: str) -> float:
    """Return the seconds between two time points, more than 0."""
    value = seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("expected more than 0 seconds between time points")
    return value


def count(text: str) -> int:
    """Return a number of time points from 0."""
    value = int(text)
    if not 0 <= value < 2**53:
        raise argparse.ArgumentTypeError(f"{text} is not a number of time points")
    return value


def frames(text: str) -> int:
    """Return a number of frames from 1."""
    value = int(text)
    if not 1 <= value < 2**53:
        raise argparse.ArgumentTypeError(f"expected a number of frames from 1 on, got {text}")
    return value


def offset(text: str) -> float:
    """Return the value of a detector without light."""
    value = float(text)
    if not abs(value) <= MAX_OFFSET:
        raise argparse.ArgumentTypeError(f"expected from -{MAX_OFFSET:g} to {MAX_OFFSET:g}, got {text}")
    return value


def gain(text: str) -> float:
    """Return a detector's units per photon."""
    value = float(text)
    if not MIN_GAIN <= value <= MAX_GAIN:
        raise argparse.ArgumentTypeError(
            f"expected detector units per photon, from {MIN_GAIN:g} to {MAX_GAIN:g}, got {text}"
        )
    return value


def window(text: str) -> int:
    """Return a number of frames in flight."""
    value = int(text)
    if not 1 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 1024")
    return value
