"""``dimstream stream``: a TIFF stack frame by frame over ZeroMQ, as a microscope would send it."""

from __future__ import annotations

import argparse
import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimstream_client import credentials
from dimstream_client.commands.arguments import (
    add_files,
    add_timeout,
    overwritten,
    patience,
    seconds,
    window,
)
from dimstream_client.commands.exit_codes import DONE, INCOMPLETE, USAGE, say
from dimstream_client.credentials import client_of

if TYPE_CHECKING:
    from dimstream_client.file_streaming import Tally
    from dimstream_client.files import ImageStack


def add(commands: Any) -> None:
    """Add the command to the subparsers of ``dimstream``."""
    stream = commands.add_parser(
        "stream",
        help="stream a TIFF stack frame by frame over ZeroMQ",
        description="Stream a TIFF stack like a microscope would. Writes OUT and, beside it, "
        "OUT.flags.jsonl with one line a frame, and with --maps OUT.maps.ome.tif.",
    )
    add_files(stream)
    stream.add_argument("--server", required=True, metavar="tcp://HOST:PORT", help="its ZeroMQ endpoint")
    stream.add_argument("--interval", type=seconds, default=0.0, metavar="S", help="seconds between frames")
    stream.add_argument("--mode", choices=("lossless", "latest"), default="lossless")
    stream.add_argument("--window", type=window, metavar="N", help="frames in flight, 1 to 1024")
    stream.add_argument("--checksum", action="store_true", help="guard every frame by crc32")
    stream.add_argument("--maps", action="store_true", help="write where predictions stand on photons")
    stream.add_argument("--save", action="store_true", help="let the server record raw and denoised frames")
    stream.add_argument(
        "--resume", action="store_true", help="go on where OUT was broken off; the rest as the first time"
    )
    stream.add_argument(
        "--outage", type=patience, default=math.inf, metavar="S",
        help="seconds to wait for a server that is lost (default: for ever)",
    )  # fmt: skip
    stream.add_argument("--quiet", action="store_true", help="show no progress")
    credentials.add_keys(stream)
    add_timeout(stream, 10.0)
    stream.set_defaults(run=_stream)


def _stream(arguments: argparse.Namespace) -> int:
    if not find_spec("tifffile") or not find_spec("tqdm"):
        return say('this needs tifffile and tqdm: pip install "dimstream-client[tiff]"', USAGE)
    # Only here: the rest of the client works without them.
    from dimstream_client.file_streaming import flags_path, maps_path, note_path
    from dimstream_client.files import open_images

    out = arguments.out
    beside = [flags_path(out), *([maps_path(out)] if arguments.maps else [])]
    with open_images(
        arguments.source,
        axes=arguments.axes,
        frame_interval_s=arguments.frame_interval,
        below_zero=_is_detector(arguments),
    ) as stack:
        if same := overwritten(arguments.source, out, *beside):
            return say(f"{same} would be overwritten while it is read; name another", USAGE)
        if note_path(out).exists() and not arguments.resume:
            return say(f"{out} was broken off: go on by --resume, or remove {note_path(out)}", USAGE)
        tally = _stream_with_progress(arguments, stack)
    where = [f"{what} in {path}" for what, path in zip(("flags", "maps"), beside)]
    print("; ".join((f"{out}: {tally}", *where)))
    return _tell_end(tally, stack, beside[0])


def _is_detector(arguments: argparse.Namespace) -> bool:
    """Whether an offset or gain was given, by which values become photons."""
    return arguments.offset is not None or arguments.gain is not None


def _stream_with_progress(arguments: argparse.Namespace, stack: ImageStack) -> Tally:
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from dimstream_client.file_streaming import Pace, frames_done, stream_file

    with client_of(arguments, outage_s=arguments.outage) as client:
        client.ping()  # before anything is written
        done = frames_done(arguments.out, with_maps=arguments.maps) if arguments.resume else 0
        bar = tqdm(total=len(stack), initial=done, unit="frame", disable=arguments.quiet)

        def on_frame(counts: dict[str, int]) -> None:
            bar.set_postfix({flag: n for flag, n in counts.items() if n}, refresh=False)
            bar.update()

        with bar, logging_redirect_tqdm():
            return stream_file(
                client,
                arguments.source,
                stack,
                arguments.out,
                Pace(arguments.interval, _settings_of(arguments, stack)),
                on_frame=on_frame,
                resume=arguments.resume,
            )


def _settings_of(arguments: argparse.Namespace, stack: ImageStack) -> dict[str, Any]:
    return {
        "model": arguments.model,
        "mode": arguments.mode,
        "window": arguments.window,
        "out_dtype": arguments.out_dtype,
        "checksum": "crc32" if arguments.checksum else "none",
        "pixel_size_um": stack.square_pixel_um,
        "frame_interval_s": stack.frame_interval_s,
        "channels": stack.scale.channels,
        "maps": arguments.maps,
        "witness_every": arguments.witness_every,
        "offset": arguments.offset,
        "gain": arguments.gain,
        "save": arguments.save,
    }


def _tell_end(tally: Tally, stack: ImageStack, flags: Path) -> int:
    from dimstream_client.proposals import stream_line

    if tally.thresholds and dict(zip(stack.axes, stack.shape)).get("Z", 1) > 1:
        print(stream_line(flags, tally.thresholds))
    if tally.closed is not None:
        for file in tally.closed.files:
            print(f"recorded by the server: {file.get('name')} sha256 {file.get('sha256')}")
        if tally.closed.error is not None:
            return say(tally.closed.error.detail, INCOMPLETE)
    if missing := tally.counts["missing"]:
        return say(f"{missing} frames have no result; their pages are zero", INCOMPLETE)
    return DONE
