"""`dimstream-train adapt-live`: adapts the bundle of a running stream, and activates it between two
frames."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dimstream_models.shipped import find_bundle
from dimstream_models.training.commands import Commands, positive, print_warnings

if TYPE_CHECKING:
    from dimstream_models.training.adapting.changing_model import StreamOfServer

_TOKEN_FILE = "DIMSTREAM_TOKEN_FILE"


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "adapt-live",
        help="adapt the bundle of a running, recorded stream to its first minutes, if this improves it",
    )
    parser.add_argument("--server", required=True, metavar="http://HOST:PORT")
    parser.add_argument(
        "--stream", required=True, metavar="ID", help="id of the stream, as listed by GET /v1/streams"
    )
    parser.add_argument(
        "--recordings", type=Path, required=True, metavar="FOLDER", help="the server's recording.folder"
    )
    token = os.environ.get(_TOKEN_FILE)
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="NAME.token",
        default=Path(token) if token else None,
        help=f"file of an operator's token (default: ${_TOKEN_FILE})",
    )
    aim = parser.add_mutually_exclusive_group(required=True)
    aim.add_argument("--out", type=Path, help="folder of the new bundle, in one of server.bundle_folders")
    aim.add_argument("--undo", action="store_true", help="use the former model again")
    _add_training(parser)
    parser.set_defaults(run_command=_run)


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bundle", type=find_bundle, help="bundle that serves the stream (default: searched next to --out)"
    )
    parser.add_argument(
        "--first-minutes", type=positive, default=3.0, help="part of the stream to train on (default: 3)"
    )
    parser.add_argument("--frames", type=int, help="most frames to train on (default: 240)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=positive, default=3.0, help="training time (default: 3)")
    length.add_argument("--steps", type=int, help="training steps, instead of minutes")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument(
        "--threads",
        type=int,
        default=max(1, (os.cpu_count() or 1) - 1),
        help="threads for training, at the lowest priority (default: all cores but one)",
    )
    parser.add_argument(
        "--share",
        type=_share,
        default=0.5,
        metavar="0.5",
        help=(
            "largest share of time for training, with pauses between steps; 1: without pauses (default: 0.5)"
        ),
    )


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0 and up to 1, got {text}")
    return share


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.adapting.changing_model import StreamOfServer, undo
    from dimstream_models.training.adapting.running_server import RunningServer, read_token

    token = None if arguments.token_file is None else read_token(arguments.token_file)
    of = StreamOfServer(
        server=RunningServer(arguments.server, token),
        stream=arguments.stream,
        recordings=arguments.recordings,
    )
    if not arguments.undo:
        _adapt(of, arguments)
        return
    changed = undo(of)
    print(
        f"stream {of.stream}: frames from {changed.from_seq} on are denoised by {changed.model}"
        f" ({changed.model_sha256[:12]}) again"
    )


def _adapt(of: StreamOfServer, arguments: argparse.Namespace) -> None:
    from dimstream_models.training.adapting.adaptation import Wanted
    from dimstream_models.training.adapting.growing_recording import FirstFrames
    from dimstream_models.training.adapting.live_adaptation import LiveWish, adapt_live, work_folder
    from dimstream_models.training.adapting.low_priority import Rests, yield_to_others
    from dimstream_models.training.adapting.stored_movies import MOST_FRAMES

    priority = yield_to_others(arguments.threads)
    print(f"runs with {priority}, threads: {arguments.threads}, for {arguments.share:.0%} of the time")
    rest = Rests(arguments.share, arguments.threads) if arguments.share < 1 else None
    wish = LiveWish(
        out=arguments.out,
        source=arguments.bundle,
        first=FirstFrames(minutes=arguments.first_minutes, most=arguments.frames or MOST_FRAMES),
        wanted=Wanted(minutes=arguments.minutes, steps=arguments.steps, seed=arguments.seed, rest=rest),
    )
    try:
        changed = adapt_live(of, wish)
    except KeyboardInterrupt:
        print(f"give the same command to continue {work_folder(arguments.out)}")
        raise
    print(
        f"stream {of.stream}: frames from {changed.from_seq} on are denoised by {changed.model}"
        f" ({changed.model_sha256[:12]}), which is in {arguments.out}; give the same command with --undo in "
        "place of --out to go back"
    )
    print_warnings(arguments.out)
