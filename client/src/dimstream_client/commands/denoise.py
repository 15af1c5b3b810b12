"""``dimstream denoise``: denoise an image file, or all images of a folder."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from dimstream_client import credentials
from dimstream_client.commands import stream
from dimstream_client.commands.arguments import add_files, add_outage, add_timeout, files_at_once
from dimstream_client.commands.exit_codes import DONE, INCOMPLETE, CommandRefused, say
from dimstream_client.commands.extras import check_installed
from dimstream_client.commands.reading import (
    add_reading,
    changed_since,
    check_source,
    movie_hint,
    open_source,
    reading_options,
    show,
    stamps_of,
)
from dimstream_client.commands.writing import check_out, write_whole
from dimstream_client.credentials import http_client_of

if TYPE_CHECKING:
    from dimstream_client.files import ImageStack

_DESCRIPTION: Final = """\
Denoise an image file: IN is a TIFF of any kind, NPY, or Imspector's .msr or .obf, OUT an OME-TIFF.

IN may also be a folder: then every image in it, and in the folders inside, is denoised into the folder OUT,
in natural order (img2 before img10), with OUT/flags.csv (a row for each frame) and OUT/summary.csv (a row for
each file). Finished files are skipped, a file that fails does not stop the others, and the command waits for
a server that cannot be reached. After an interruption, give the same command again.

The server is named by its ZeroMQ endpoint (tcp://), for movies of any length, or by its HTTP endpoint
(http://), which takes a whole file in one request, up to a size limit."""
_EXAMPLES: Final = """\
examples:
  dimstream denoise image.tif denoised.ome.tif --server http://127.0.0.1:8570
  dimstream denoise measurements denoised --server tcp://127.0.0.1:5570
  dimstream denoise measurements denoised --axes TYX --frame-interval 0.6 --server tcp://127.0.0.1:5570

exit codes: 0 all done; 1 something failed or is missing; 2 wrong usage; 3 a file cannot be read or
written; 4 the server refused or cannot be reached; 130 interrupted"""
_QUERY: Final = ("out_dtype", "offset", "gain")


def add(commands: Any) -> None:
    """Add the command to the subparsers of ``dimstream``."""
    denoise = commands.add_parser(
        "denoise",
        help="denoise an image file, or all images of a folder",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_files(denoise)
    add_reading(denoise)
    denoise.add_argument(
        "--server", required=True, metavar="URL", help="tcp://HOST:PORT (ZeroMQ) or http://HOST:PORT"
    )
    denoise.add_argument(
        "--output", choices=("denoised", "support", "sd"), default="denoised",
        help="in place of pixels (http:// only) support: a map of where photons support the prediction;"
        " sd: the standard deviation of each denoised pixel, counts",
    )  # fmt: skip
    denoise.add_argument(
        "--files", type=files_at_once, default=1, metavar="N",
        help="files of a folder that are denoised at the same time (tcp:// only; default: 1): two for each"
        " device of the server keep it busy between files",
    )  # fmt: skip
    add_outage(denoise)
    denoise.add_argument("--quiet", action="store_true", help="show no progress")
    credentials.add_keys(denoise)
    credentials.add_token(denoise)
    add_timeout(denoise, None, "10, and 300 for http://")
    denoise.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code.

    Raises
    ------
    CommandRefused, DimstreamError, OSError
    """
    check_installed("tifffile", "tqdm", extras="tiff")
    by_stream = arguments.server.startswith("tcp:")
    if arguments.timeout is None:
        arguments.timeout = 10.0 if by_stream else 300.0
    if by_stream and arguments.output != "denoised":
        raise CommandRefused(
            f"--output {arguments.output} needs the HTTP endpoint; `dimstream stream` writes both: maps of"
            " support by --maps, standard deviations by --sd"
        )
    check_source(arguments.source)
    if arguments.source.is_dir():
        from dimstream_client.commands.folder import denoise_folder

        return denoise_folder(arguments, by_stream=by_stream)
    if arguments.files > 1:
        raise CommandRefused(f"--files is for folders, and {arguments.source} is a file; leave it out")
    if by_stream:
        return stream.run(argparse.Namespace(**{**vars(arguments), **stream.ONLY_HERE}))
    return _request(arguments)


def _request(arguments: argparse.Namespace) -> int:
    """Denoise a file with one HTTP request."""
    http = http_client_of(arguments)
    check_out(arguments.out, arguments.source, replaces=arguments.overwrite)
    stamps = stamps_of([arguments.source])  # before it is opened, because it may still be written
    with ExitStack() as files:
        stack = files.enter_context(open_source(arguments, arguments.source))
        stamps = {**stamps_of(stack.files), **stamps}
        show(arguments.source, stack)
        stack.check()  # before anything is sent
        sent = arguments.source
        if reading_options(arguments) or [path.resolve() for path in stack.files] != [sent.resolve()]:
            sent = Path(files.enter_context(TemporaryDirectory(prefix="dimstream-"))) / "stack.ome.tif"
            _write(stack, sent)
        answer = http.denoise(arguments.model, sent, query_of(arguments))
    write_whole(arguments.out, answer.file)
    print(f"{arguments.out}: {answer.flags}" if answer.flags else arguments.out)
    if hint := movie_hint(stack.axes, _counts(answer.flags)):
        print(f"  note: {hint}")
    code = DONE if answer.warning is None else say(answer.warning, DONE)
    changed = changed_since(stamps)
    return code if changed is None else say(changed, INCOMPLETE)


def _write(stack: ImageStack, path: Path) -> None:
    from dimstream_client.files.stack_writer import write_stack

    write_stack(stack, path)


def query_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the query parameters of a request. Options for reading the file are applied here, not sent."""
    options = {
        **{name: getattr(arguments, name) for name in _QUERY},
        "split_every": arguments.split_every or None,
        "match_pixel_size": "true" if arguments.match_pixel_size else None,
        "priority": "batch" if arguments.batch else None,
        "output": None if arguments.output == "denoised" else arguments.output,
    }
    return {name: value for name, value in options.items() if value is not None}


def _counts(flags: str) -> dict[str, int]:
    """Return the numbers in ``ok=98, unjudged=1, suspect=1``."""
    pairs = (part.strip().partition("=") for part in flags.partition(";")[0].split(","))
    return {name: int(number) for name, _, number in pairs if number.isdecimal()}
