"""``dimstream stream``: send an image file or a folder of single images frame by frame, like a microscope."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dimstream_client import credentials
from dimstream_client.commands.arguments import (
    add_files,
    add_outage,
    add_timeout,
    frames,
    milliseconds,
    seconds,
    window,
)
from dimstream_client.commands.exit_codes import DONE, INCOMPLETE, CommandRefused, say
from dimstream_client.commands.extras import check_installed
from dimstream_client.commands.reading import (
    add_reading,
    changed_since,
    check_source,
    movie_hint,
    open_source,
    show,
    stamps_of,
)
from dimstream_client.commands.writing import check_name, check_out
from dimstream_client.credentials import client_of

if TYPE_CHECKING:
    from dimstream_client.file_streaming import Tally
    from dimstream_client.files import ImageStack

_DESCRIPTION: Final = """\
Send an image frame by frame, as a microscope does, and write the denoised frames as they arrive.
IN is an image file (TIFF of any kind, NPY, Imspector's .msr and .obf), or a folder of single images, which
become one movie in natural order (img2 before img10).

Writes OUT, an OME-TIFF, and next to it OUT.flags.jsonl with a line for each frame.
With --maps also OUT.maps.ome.tif: where photons support the prediction. With --sd also OUT.sd.ome.tif: the
standard deviation of each denoised pixel, in counts, where the model has error bars."""
_EXAMPLES: Final = """\
examples:
  dimstream stream movie.tif denoised.ome.tif --server tcp://127.0.0.1:5570
  dimstream stream slices.tif denoised.ome.tif --axes TYX --frame-interval 0.6 --server tcp://127.0.0.1:5570
  dimstream stream folder_of_images denoised.ome.tif --server tcp://127.0.0.1:5570
  dimstream stream movie.tif denoised.ome.tif --resume --server tcp://127.0.0.1:5570"""
ONLY_HERE: Final = {
    "interval": 0.0,
    "mode": "lossless",
    "window": None,
    "checksum": False,
    "maps": False,
    "sd": False,
    "save": False,
    "resume": False,
    "deadline_ms": None,
    "fail_on_suspect": None,
}
"""Options that `dimstream denoise` does not have, with their defaults."""


def add(commands: Any) -> None:
    """Add the command to the subparsers of ``dimstream``."""
    stream = commands.add_parser(
        "stream",
        help="stream an image, or a folder of single images, frame by frame over ZeroMQ",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_files(stream)
    add_reading(stream)
    stream.add_argument(
        "--server", required=True, metavar="tcp://HOST:PORT", help="ZeroMQ endpoint of the server"
    )
    stream.add_argument(
        "--interval",
        type=seconds,
        default=0.0,
        metavar="S",
        help="seconds between frames that are sent (default: as fast as possible)",
    )
    stream.add_argument(
        "--deadline-ms", type=milliseconds, metavar="MS",
        help="return a frame raw, marked as fallback, if its answer would come later than this",
    )  # fmt: skip
    stream.add_argument(
        "--mode",
        choices=("lossless", "latest"),
        default="lossless",
        help="lossless: every frame gets a result; latest: skip frames when the server is too slow",
    )
    stream.add_argument("--window", type=window, metavar="N", help="frames in flight, 1 to 1024")
    stream.add_argument("--checksum", action="store_true", help="check every frame by crc32")
    stream.add_argument(
        "--maps", action="store_true", help="also write maps that show where photons support the prediction"
    )
    stream.add_argument(
        "--sd", action="store_true", help="also write the standard deviation of each denoised pixel, counts"
    )
    stream.add_argument("--save", action="store_true", help="have the server record raw and denoised frames")
    stream.add_argument(
        "--resume",
        action="store_true",
        help="continue an interrupted stream; give all other options as the first time",
    )
    stream.add_argument(
        "--fail-on-suspect", type=frames, metavar="N",
        help="stop with exit code 5 once more than half of the planes were suspect for N judged frames in a"
        " row (default: never)",
    )  # fmt: skip
    add_outage(stream)
    stream.add_argument("--quiet", action="store_true", help="show no progress")
    credentials.add_keys(stream)
    add_timeout(stream, 10.0)
    stream.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code.

    Raises
    ------
    CommandRefused, DimstreamError, OSError
    """
    check_installed("tifffile", "tqdm", extras="tiff")
    # Imported only here: the rest of the client works without them.
    from dimstream_client.file_streaming import flags_path, image_path, images_beside, resume_path

    out = arguments.out
    check_source(arguments.source)
    check_name(out, arguments.source)
    images = images_beside(vars(arguments))
    beside = [flags_path(out), *(image_path(out, name) for name in images)]
    check_out(out, arguments.source, beside=tuple(beside), replaces=arguments.overwrite or arguments.resume)
    if resume_path(out).exists() and not arguments.resume:
        if not arguments.overwrite:
            raise CommandRefused(
                f"{out} belongs to an interrupted stream: continue with --resume, or start again with "
                "--overwrite"
            )
        resume_path(out).unlink()
    stamps = stamps_of([arguments.source])  # before it is opened, because it may still be written
    with _open(arguments, [out, *beside]) as stack:
        stamps = {**stamps_of(stack.files), **stamps}
        show(arguments.source, stack)
        tally = _stream_with_progress(arguments, stack)
    where = [f"{what} in {path}" for what, path in zip(("flags", *images), beside)]
    print("; ".join((f"{out}: {tally}", *where)))
    code = _report_end(tally, stack, beside[0])
    changed = changed_since(stamps)
    return code if changed is None else say(changed, INCOMPLETE)


def _open(arguments: argparse.Namespace, outputs: list[Path]) -> ImageStack:
    """Open the image, or the images of a folder as one movie."""
    if not arguments.source.is_dir():
        return open_source(arguments, arguments.source)
    from dimstream_client.folders.movie import open_folder

    one = argparse.Namespace(**{**vars(arguments), "frame_interval": None})
    if arguments.axes is not None:
        if arguments.axes[:1].upper() != "T":
            raise CommandRefused(
                "expected axes that begin with T, because each file of a folder is a time point, got "
                f"{arguments.axes!r}"
            )
        one.axes = arguments.axes[1:]
    return open_folder(
        arguments.source,
        lambda path: open_source(one, path),
        without=outputs,
        frame_interval_s=arguments.frame_interval,
    )


def _stream_with_progress(arguments: argparse.Namespace, stack: ImageStack) -> Tally:
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from dimstream_client.file_streaming import StreamingOptions, frames_done, images_beside, stream_file

    with client_of(arguments, outage_s=arguments.outage) as client:
        client.ping()  # before anything is written
        done = frames_done(arguments.out, images_beside(vars(arguments))) if arguments.resume else 0
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
                StreamingOptions(
                    arguments.interval, settings_of(arguments, stack), arguments.fail_on_suspect
                ),
                on_frame=on_frame,
                resume=arguments.resume,
            )


def settings_of(arguments: argparse.Namespace, stack: ImageStack) -> dict[str, Any]:
    """Return the settings of the stream of a stack."""
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
        "sd": arguments.sd or None,
        "split_every": arguments.split_every,
        "offset": arguments.offset,
        "gain": arguments.gain,
        "match_pixel_size": arguments.match_pixel_size or None,
        "priority": "batch" if arguments.batch else None,
        "deadline_ms": arguments.deadline_ms,
        "save": arguments.save,
    }


def _report_end(tally: Tally, stack: ImageStack, flags: Path) -> int:
    from dimstream_client.volumes.crop_proposal import stream_line

    if tally.thresholds and dict(zip(stack.axes, stack.shape)).get("Z", 1) > 1:
        print(stream_line(flags, tally.thresholds))
    if hint := movie_hint(stack.axes, tally.counts):
        print(f"  note: {hint}")
    if tally.closed is not None:
        for file in tally.closed.files:
            print(f"recorded by the server: {file.get('name')} sha256 {file.get('sha256')}")
        if tally.closed.error is not None:
            return say(tally.closed.error.detail, INCOMPLETE)
    if missing := tally.counts["missing"]:
        frames = "1 frame has" if missing == 1 else f"{missing} frames have"
        return say(f"{frames} no result (zeros in the output); {tally.first_missing}", INCOMPLETE)
    return DONE
