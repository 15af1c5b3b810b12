"""How the commands read an image: options that replace metadata of the file, and notes before it is sent."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dimstream_client.commands.arguments import time_step
from dimstream_client.commands.exit_codes import UNREADABLE, CommandRefused

if TYPE_CHECKING:  # it needs the extra
    from dimstream_client.files import ImageStack

_LONGEST_UM: Final = 1e6
_LISTED: Final = 8


def add_reading(command: argparse.ArgumentParser) -> None:
    """Add the options for reading the image."""
    group = command.add_argument_group("how the image is read (by default, as the file says)")
    group.add_argument(
        "--series", metavar="NAME", help="which image of a file with several: its name, or its number from 0"
    )
    group.add_argument(
        "--axes",
        metavar="TYX",
        help="axes, in the order of the file; TYX for a movie that was saved as a z-stack",
    )
    group.add_argument(
        "--incomplete",
        action="store_true",
        help="use the planes in the file, even if it declares more or fewer",
    )
    group.add_argument(
        "--pixel-size", type=pixel_size, metavar="UM", help="micrometres, X,Y where pixels are not square"
    )
    group.add_argument("--z-step", type=micrometres, metavar="UM", help="micrometres between planes")
    group.add_argument("--frame-interval", type=time_step, metavar="S", help="seconds between time points")


def reading_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `open_images` that were given."""
    given = {
        "series": arguments.series,
        "axes": arguments.axes,
        "take_incomplete": arguments.incomplete or None,
        "pixel_size_um": arguments.pixel_size,
        "z_step_um": arguments.z_step,
        "frame_interval_s": arguments.frame_interval,
        "below_zero": arguments.offset is not None or arguments.gain is not None or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def check_source(path: Path) -> None:
    """Refuse a missing input, before the output is checked.

    Raises
    ------
    CommandRefused
    """
    if not path.exists():
        raise CommandRefused(f"{path}: {os.strerror(errno.ENOENT)}", UNREADABLE)


def open_source(arguments: argparse.Namespace, path: Path) -> ImageStack:
    """Open an image as the options say.

    Raises
    ------
    TiffError, OSError
    """
    from dimstream_client.files import open_images

    return open_images(path, **reading_options(arguments))


def stamps_of(paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Return size and time of change of the files that exist, to see later whether they were changed."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file()}


def changed_since(stamps: dict[Path, tuple[int, int]]) -> str | None:
    """Return a message about the first file that has changed; it may have more frames now."""
    now = stamps_of(stamps)
    changed = next((path for path, stamp in stamps.items() if now.get(path) != stamp), None)
    return None if changed is None else f"{changed} changed while it was read: try again when it is complete"


def description_of(stack: ImageStack) -> str:
    """Return the axes, shape and scale of a stack as text."""
    scale, lengths = stack.scale, dict(zip(stack.axes, stack.shape))
    parts = [f"{stack.axes} {'x'.join(map(str, stack.shape))} {stack.dtype}"]
    if scale.pixel_size_um is None:
        parts.append("pixel size unknown")
    else:
        x, y = scale.pixel_size_um
        parts.append(f"pixels {x:g} um" if scale.square_pixel_um else f"pixels {x:g} x {y:g} um")
    if "Z" in lengths:
        parts.append("z step unknown" if scale.z_step_um is None else f"z step {scale.z_step_um:g} um")
    if "T" in lengths:
        step = scale.frame_interval_s
        parts.append("time step unknown" if step is None else f"{step:g} s between time points")
    if scale.channels:
        more = f" and {len(scale.channels) - _LISTED} more" if len(scale.channels) > _LISTED else ""
        parts.append("channels " + ", ".join(scale.channels[:_LISTED]) + more)
    return ", ".join(parts)


def remarks_on(stack: ImageStack) -> Iterator[str]:
    """Yield notes on missing or doubtful metadata, and on how it is sent."""
    yield from stack.remarks
    if stack.scale.pixel_size_um is not None and stack.square_pixel_um is None:
        yield "the output keeps both pixel sizes; the server gets none, as it supports only square pixels"


def show(path: Path, stack: ImageStack) -> None:
    """Print the axes, shape, scale and notes of a stack, before anything is sent."""
    print(f"{path}: {description_of(stack)}")
    for remark in remarks_on(stack):
        print(f"  note: {remark}", flush=True)


def movie_hint(axes: str, counts: dict[str, int]) -> str | None:
    """Return advice for a z-stack of which no plane could be judged; None for others."""
    others = sum(n for flag, n in counts.items() if flag != "unjudged")
    if "Z" not in axes or "T" in axes or others or not counts.get("unjudged"):
        return None
    stated = axes.replace("Z", "T")
    return (
        "no plane could be judged: frames are compared over time, but this was read as a z-stack. It may be "
        "a "
        f"movie that was saved as a z-stack: then give --axes {stated}. Judge a z-stack by --split-every 1"
    )


def micrometres(text: str) -> float:
    """Return a length in micrometres, more than 0."""
    value = float(text)
    if not 0 < value < _LONGEST_UM:
        raise argparse.ArgumentTypeError(f"{text} is not a length in micrometres")
    return value


def pixel_size(text: str) -> tuple[float, float]:
    """Return the sides of a pixel in micrometres: one number, or X,Y."""
    sides = text.split(",")
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f"{text} is not a pixel size: expected one number, or X,Y")
    return micrometres(sides[0]), micrometres(sides[-1])
