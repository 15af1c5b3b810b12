"""``dimstream denoise``: a whole TIFF in one HTTP request."""

from __future__ import annotations

import argparse
from typing import Any

from dimstream_client import credentials
from dimstream_client.commands.arguments import add_files, add_timeout, check_writable, overwritten
from dimstream_client.commands.exit_codes import DONE, USAGE, say
from dimstream_client.credentials import door_of


def add(commands: Any) -> None:
    """Add the command to the subparsers of ``dimstream``."""
    denoise = commands.add_parser("denoise", help="denoise a whole TIFF in one HTTP request")
    add_files(denoise)
    denoise.add_argument("--server", required=True, metavar="http://HOST:PORT", help="its HTTP endpoint")
    denoise.add_argument(
        "--output", choices=("denoised", "support"), default="denoised",
        help="support: instead of pixels a map of where predictions stand on photons",
    )  # fmt: skip
    credentials.add_token(denoise)
    add_timeout(denoise, 300.0)
    denoise.set_defaults(run=_denoise)


def _denoise(arguments: argparse.Namespace) -> int:
    if overwritten(arguments.source, arguments.out):
        return say(f"{arguments.out} would be overwritten; name another", USAGE)
    check_writable(arguments.out)
    options = {
        "out_dtype": arguments.out_dtype,
        "axes": arguments.axes,
        "witness_every": arguments.witness_every or None,
        "offset": arguments.offset,
        "gain": arguments.gain,
        "frame_interval_s": arguments.frame_interval,
        "output": None if arguments.output == "denoised" else arguments.output,
    }
    given = {name: value for name, value in options.items() if value is not None}
    answer = door_of(arguments).denoise(arguments.model, arguments.source, given)
    arguments.out.write_bytes(answer.file)
    print(f"{arguments.out}: {answer.flags}" if answer.flags else arguments.out)
    return DONE
