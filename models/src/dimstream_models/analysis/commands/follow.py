"""`dimstream-analyse follow`: measures a server's frames while they arrive, for its live view."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dimstream_models.analysis.commands import Commands
from dimstream_models.analysis.errors import ServerRefusal

if TYPE_CHECKING:
    from dimstream_models.analysis.following import MakeSegmenter
    from dimstream_models.analysis.segmentation import Segmenter

ALL: Final = "all"
NETWORK: Final = "network"
TOKEN_VARIABLE: Final = "DIMSTREAM_TOKEN_FILE"


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "follow", help="keep measuring the newest frame of a server's streams, for its live view"
    )
    parser.add_argument(
        "--server",
        default="http://127.0.0.1:8570",
        metavar="URL",
        help="the server's HTTP address (default: %(default)s)",
    )
    parser.add_argument(
        "--stream",
        default=ALL,
        metavar="ID",
        help="id of one stream, which is followed until it ends; all (default): every stream",
    )
    parser.add_argument(
        "--plane",
        type=int,
        nargs=3,
        metavar=("C", "Z", "P"),
        help="channel, z and position (default: whichever frame is newest)",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        default=os.environ.get(TOKEN_VARIABLE),
        metavar="FILE",
        help=f"token of http.analysis_tokens, if the server requires one (default: ${TOKEN_VARIABLE})",
    )
    parser.add_argument(
        "--segmenter",
        default=NETWORK,
        metavar="BUNDLE",
        help=(
            "how frames are labelled: a segmentation bundle, network (the shipped one) or classical (a "
            "rolling ball, a threshold and widths) (default: %(default)s)"
        ),
    )
    parser.add_argument(
        "--radius-px", type=float, help="radius of the classical segmenter's rolling ball (default: 15)"
    )
    parser.add_argument(
        "--tubule-width-px",
        type=float,
        help="widest tubule of the classical segmenter; wider structures are sheets (default: 17)",
    )
    parser.add_argument(
        "--sheet-tubules",
        choices=("sheet", "tubule"),
        default="sheet",
        help="how tubules on sheets are counted (default: %(default)s, as in the paper)",
    )
    parser.add_argument(
        "--nice",
        type=int,
        default=10,
        choices=range(20),
        metavar="N",
        help=(
            "by how much the priority is lowered, 0 to 19, so that the server goes first (default: "
            "%(default)s)"
        ),
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_client.errors import DimstreamError, NotAdmitted

    try:
        _follow(arguments)
    except NotAdmitted as error:
        raise ServerRefusal(f"{error.detail}; name the file of this token with --token-file") from error
    except DimstreamError as error:
        raise ServerRefusal(error.detail) from error


def _follow(arguments: argparse.Namespace) -> None:
    from dimstream_client.keys import TOKEN, read_only_entry
    from dimstream_models.analysis.follow_counts import count_lines
    from dimstream_models.analysis.following import FollowSettings, LiveAnalysis
    from dimstream_models.analysis.frame import FrameSettings

    path = arguments.token_file
    token = None if path is None else read_only_entry(path, TOKEN).value
    settings = FollowSettings(
        stream=None if arguments.stream == ALL else arguments.stream,
        plane=None if arguments.plane is None else tuple(arguments.plane),
        frame=FrameSettings(sheet_tubules=arguments.sheet_tubules),
    )
    analysis = LiveAnalysis(
        arguments.server, _segmenters(arguments), token=token, settings=settings, say=_say
    )
    signal.signal(signal.SIGTERM, _interrupt)
    _lower_priority(arguments.nice)
    try:
        analysis.run()
    except KeyboardInterrupt:
        _say("stopped")
    for line in count_lines(analysis.counts):
        print(line, flush=True)


def _segmenters(arguments: argparse.Namespace) -> MakeSegmenter:
    from dimstream_models.analysis.network_segmenter import named_segmenter

    def make(pixel_um: float | None) -> Segmenter:
        return named_segmenter(
            arguments.segmenter,
            pixel_nm=None if pixel_um is None else 1e3 * pixel_um,
            radius_px=arguments.radius_px,
            tubule_width_px=arguments.tubule_width_px,
        )

    make(None)  # an unusable segmenter is refused before any frame is read
    return make


def _lower_priority(nice: int) -> None:
    if hasattr(os, "nice"):
        os.nice(nice)
    elif nice:
        _say(
            "this operating system has no nice: start the command with a low priority, for example with "
            "`start /low`"
        )


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"dimstream-analyse: {text}", file=sys.stderr, flush=True)
