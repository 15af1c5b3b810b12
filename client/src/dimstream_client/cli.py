"""The command ``dimstream``: stream or denoise a TIFF, view volumes, list models, ping, make keys.

Exit codes: 0 done; 1 done, but frames are missing, or a crop leaves no plane; 2 wrong usage; 3 a file that
cannot be read or written; 4 the server refused, is lost or silent; 130 interrupted. Errors are one line on
stderr.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dimstream_client import credentials, view_command
from dimstream_client.credentials import client_of, door_of
from dimstream_client.errors import DimstreamError, KeyFileError, SpoolError, TiffError

if TYPE_CHECKING:
    from dimstream_client.file_streaming import Tally
    from dimstream_client.tiff import Stack

DONE, INCOMPLETE, USAGE, UNREADABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130

_DESCRIPTION: Final = "Send microscopy frames to a dimstream server and get them back denoised."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    run = arguments.run
    try:
        return int(run(arguments))
    except KeyboardInterrupt:
        return _say("interrupted; what was written is complete up to there", INTERRUPTED)
    except TiffError as error:
        return _say(f"{getattr(arguments, 'source', '')}: {error}", UNREADABLE)
    except (KeyFileError, SpoolError) as error:
        return _say(str(error), UNREADABLE)
    except DimstreamError as error:
        return _say(str(error), REFUSED)
    except OSError as error:
        where = error.filename or getattr(arguments, "out", "")  # a full disk names no file
        return _say(f"{where}: {error.strerror or error}", UNREADABLE)


def _say(text: str, code: int) -> int:
    print("dimstream: " + " ".join(text.split()), file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dimstream", description=_DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    stream = commands.add_parser(
        "stream",
        help="stream a TIFF stack frame by frame over ZeroMQ",
        description="Stream a TIFF stack like a microscope would. Writes OUT and, beside it, "
        "OUT.flags.jsonl with one line a frame, and with --maps OUT.maps.ome.tif.",
    )
    _add_files(stream)
    stream.add_argument("--server", required=True, metavar="tcp://HOST:PORT", help="its ZeroMQ door")
    stream.add_argument("--interval", type=_seconds, default=0.0, metavar="S", help="seconds between frames")
    stream.add_argument("--mode", choices=("lossless", "latest"), default="lossless")
    stream.add_argument("--window", type=_window, metavar="N", help="frames in flight, 1 to 1024")
    stream.add_argument("--checksum", action="store_true", help="guard every frame by crc32")
    stream.add_argument("--maps", action="store_true", help="write where predictions stand on photons")
    stream.add_argument("--save", action="store_true", help="let the server record raw and denoised frames")
    stream.add_argument(
        "--resume", action="store_true", help="go on where OUT was broken off; the rest as the first time"
    )
    stream.add_argument(
        "--outage", type=_patience, default=math.inf, metavar="S",
        help="seconds to wait for a server that is lost (default: for ever)",
    )  # fmt: skip
    stream.add_argument("--quiet", action="store_true", help="show no progress")
    stream.set_defaults(run=_stream)

    denoise = commands.add_parser("denoise", help="denoise a whole TIFF in one HTTP request")
    _add_files(denoise)
    denoise.add_argument("--server", required=True, metavar="http://HOST:PORT", help="its HTTP door")
    denoise.add_argument(
        "--output", choices=("denoised", "support"), default="denoised",
        help="support: instead of pixels a map of where predictions stand on photons",
    )  # fmt: skip
    denoise.set_defaults(run=_denoise)

    models = commands.add_parser("models", help="list the models that a server has")
    models.add_argument("--server", required=True, metavar="http://HOST:PORT")
    models.set_defaults(run=_models)

    ping = commands.add_parser("ping", help="ask whether a server is there")
    ping.add_argument("--server", required=True, metavar="tcp://HOST:PORT")
    ping.set_defaults(run=_ping)
    view_command.add(commands)
    credentials.add_keygen(commands)
    for command in (stream, ping):
        credentials.add_keys(command)
    for command in (denoise, models):
        credentials.add_token(command)
    for command in (stream, denoise, models, ping):
        command.add_argument(
            "--timeout", type=_patience, default=300.0 if command is denoise else 10.0, metavar="S",
            help="seconds a server may be silent (default: %(default)s)",
        )  # fmt: skip
    return parser


def _add_files(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", type=Path, metavar="IN.tif")
    command.add_argument("out", type=Path, metavar="OUT.ome.tif")
    command.add_argument("--model", metavar="ID", help="needed where a server has several")
    command.add_argument("--out-dtype", choices=("uint16", "float32"), default="uint16")
    command.add_argument(
        "--axes", metavar="TYX", help="overrule the file: a movie that was saved as a z-stack is TYX"
    )
    command.add_argument(
        "--frame-interval",
        type=_time_step,
        metavar="S",
        help="seconds between time points; overrules the file",
    )
    command.add_argument(
        "--witness-every", type=_count, default=0, metavar="N",
        help="split the photons of every N-th time point, to judge it by its halves; 1 judges single images",
    )  # fmt: skip


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return value


def _patience(text: str) -> float:
    value = _seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("no server answers within 0 seconds")
    return value


def _time_step(text: str) -> float:
    value = _seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("time points lie more than 0 seconds apart")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**53:
        raise argparse.ArgumentTypeError(f"{text} is no number of time points")
    return value


def _window(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 1024")
    return value


def _overwritten(source: Path, *written: Path) -> Path | None:
    """Return which of the files that will be written is the source."""
    return next((path for path in written if path.exists() and path.samefile(source)), None)


def _check_writable(out: Path) -> None:
    """Raise OSError now, and not when the answer has come."""
    existed = out.exists()
    out.open("ab").close()
    if not existed:
        out.unlink()


def _stream(arguments: argparse.Namespace) -> int:
    if not find_spec("tifffile") or not find_spec("tqdm"):
        return _say('this needs tifffile and tqdm: pip install "dimstream-client[tiff]"', USAGE)
    # Only here: the rest of the client works without them.
    from dimstream_client.file_streaming import flags_path, maps_path, note_path
    from dimstream_client.tiff import open_stack

    out = arguments.out
    beside = [flags_path(out), *([maps_path(out)] if arguments.maps else [])]
    with open_stack(arguments.source, axes=arguments.axes) as stack:
        if same := _overwritten(arguments.source, out, *beside):
            return _say(f"{same} would be overwritten while it is read; name another", USAGE)
        if note_path(out).exists() and not arguments.resume:
            return _say(f"{out} was broken off: go on by --resume, or remove {note_path(out)}", USAGE)
        if arguments.frame_interval is not None:
            stack = replace(stack, scale=replace(stack.scale, frame_interval_s=arguments.frame_interval))
        tally = _stream_with_progress(arguments, stack)
    where = [f"{what} in {path}" for what, path in zip(("flags", "maps"), beside)]
    print("; ".join((f"{out}: {tally}", *where)))
    return _tell_end(tally, stack, beside[0])


def _stream_with_progress(arguments: argparse.Namespace, stack: Stack) -> Tally:
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


def _settings_of(arguments: argparse.Namespace, stack: Stack) -> dict[str, Any]:
    return {
        "model": arguments.model,
        "mode": arguments.mode,
        "window": arguments.window,
        "out_dtype": arguments.out_dtype,
        "checksum": "crc32" if arguments.checksum else "none",
        "pixel_size_um": stack.pixel_size_um,
        "frame_interval_s": stack.frame_interval_s,
        "channels": stack.scale.channels,
        "maps": arguments.maps,
        "witness_every": arguments.witness_every,
        "save": arguments.save,
    }


def _tell_end(tally: Tally, stack: Stack, flags: Path) -> int:
    from dimstream_client.proposals import stream_line

    if tally.thresholds and dict(zip(stack.axes, stack.shape)).get("Z", 1) > 1:
        print(stream_line(flags, tally.thresholds))
    if tally.closed is not None:
        for file in tally.closed.files:
            print(f"recorded by the server: {file.get('name')} sha256 {file.get('sha256')}")
        if tally.closed.error is not None:
            return _say(tally.closed.error.detail, INCOMPLETE)
    if missing := tally.counts["missing"]:
        return _say(f"{missing} frames have no result; their pages are zero", INCOMPLETE)
    return DONE


def _denoise(arguments: argparse.Namespace) -> int:
    if _overwritten(arguments.source, arguments.out):
        return _say(f"{arguments.out} would be overwritten; name another", USAGE)
    _check_writable(arguments.out)
    options = {
        "out_dtype": arguments.out_dtype,
        "axes": arguments.axes,
        "witness_every": arguments.witness_every or None,
        "frame_interval_s": arguments.frame_interval,
        "output": None if arguments.output == "denoised" else arguments.output,
    }
    given = {name: value for name, value in options.items() if value is not None}
    answer = door_of(arguments).denoise(arguments.model, arguments.source, given)
    arguments.out.write_bytes(answer.file)
    print(f"{arguments.out}: {answer.flags}" if answer.flags else arguments.out)
    return DONE


def _models(arguments: argparse.Namespace) -> int:
    for model in door_of(arguments).models():
        gain, offset = model.get("gain"), model.get("offset")
        scale = "no scale" if gain is None else f"{gain:g} * prediction {offset or 0:+g}"
        print(f"{model['id']}\t{model['sha256'][:12]}\t{model['name']}\t{scale}")
    return DONE


def _ping(arguments: argparse.Namespace) -> int:
    with client_of(arguments) as client:
        start = time.perf_counter()
        pong = client.ping()
        elapsed_ms = (time.perf_counter() - start) * 1e3
    print(f"{arguments.server}: {elapsed_ms:.2f} ms, {pong.queue} frames waiting, boot {pong.boot_id}")
    return DONE
