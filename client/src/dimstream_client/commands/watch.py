"""``dimstream watch``: denoise the images of a folder while a microscope writes them."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dimstream_client import credentials
from dimstream_client.commands.arguments import add_files, add_outage, add_timeout, patience, window
from dimstream_client.commands.exit_codes import UNREADABLE, CommandRefused
from dimstream_client.commands.extras import check_installed
from dimstream_client.commands.reading import add_reading, open_source
from dimstream_client.credentials import client_of

if TYPE_CHECKING:
    from dimstream_client.client import Client
    from dimstream_client.folders.record import FolderRecord
    from dimstream_client.watching.time_series import NamingRule
    from dimstream_client.watching.watch_job import WatchJob, WatchOptions

_DESCRIPTION: Final = """\
Denoise the images of a folder, and of the folders inside, as they appear: TIFF and OME-TIFF, Imspector's
.msr and .obf, ImSwitch's HDF5, NPY. The folder is checked repeatedly, so network shares work.

Without OUT, NAME.denoised.ome.tif is written next to each image; else NAME.ome.tif into the folder OUT.
Each has its flags next to it (NAME.flags.jsonl).

A file is read when it has not changed for a while (--settle-s) and can be read. A growing TIFF movie is
denoised while it grows, except its last frame. Files whose names differ only in their time number are one
time series: each is compared with the one before. The time number is the last number after t, time, tp,
frame or f (img_t012.tif), else the last number that is not after c, ch, z, p, pos or similar, else a time
of day. --time-number sets another rule.

Existing files are denoised first. End the command with Ctrl-C or --until-quiet-s. Give the same command
again to continue."""
_EXAMPLES: Final = """\
examples:
  dimstream watch D:\\data\\today --server tcp://127.0.0.1:5570
  dimstream watch /mnt/share/run7 denoised --series STED --server tcp://127.0.0.1:5570
  dimstream watch run7 denoised --time-number "_T([0-9]+)_" --until-quiet-s 600 --server tcp://127.0.0.1:5570

exit codes: 0 all done; 1 something failed or is missing; 2 wrong usage; 3 a folder cannot be read or
written; 4 the server refused or cannot be reached"""
_RESULT_OPTIONS: Final = (
    *("model", "out_dtype", "split_every", "offset", "gain", "match_pixel_size", "time_number", "order"),
    *("series", "axes", "incomplete", "pixel_size", "z_step", "frame_interval"),
)
"""Options that affect the outputs."""


def add(commands: Any) -> None:
    """Add the command to the subparsers of ``dimstream``."""
    watch = commands.add_parser(
        "watch",
        help="denoise the images of a folder as they appear",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_files(watch, is_out_needed=False)
    add_reading(watch)
    watch.add_argument(
        "--server", required=True, metavar="tcp://HOST:PORT", help="ZeroMQ endpoint of the server"
    )
    _add_watching(watch)
    watch.add_argument("--window", type=window, metavar="N", help="frames in flight, 1 to 1024")
    watch.add_argument("--checksum", action="store_true", help="check every frame by crc32")
    watch.add_argument("--save", action="store_true", help="have the server record raw and denoised frames")
    add_outage(watch)
    watch.add_argument("--quiet", action="store_true", help="show no progress")
    credentials.add_keys(watch)
    add_timeout(watch, 10.0)
    watch.set_defaults(run=run)


def _add_watching(watch: argparse.ArgumentParser) -> None:
    group = watch.add_argument_group("how the folder is watched")
    group.add_argument(
        "--order", choices=("name", "time"), default="name",
        help="order of the files: name (img2 before img10), or time of writing (default: name)",
    )  # fmt: skip
    group.add_argument(
        "--time-number", metavar="REGEX",
        help=(
            "regular expression for the time number of a file name, with one group around it; none: every "
            "file is a series of its own"
        ),
    )  # fmt: skip
    group.add_argument(
        "--poll-s",
        type=patience,
        default=0.5,
        metavar="S",
        help="seconds between checks (default: 0.5)",
    )
    group.add_argument(
        "--settle-s", type=patience, default=2.0, metavar="S",
        help="seconds that a file must not have changed before it is read (default: 2)",
    )  # fmt: skip
    group.add_argument(
        "--give-up-s", type=patience, default=30.0, metavar="S",
        help="seconds after which a file that does not change and cannot be read has failed (default: 30)",
    )  # fmt: skip
    group.add_argument(
        "--until-quiet-s", type=patience, metavar="S",
        help="end when everything is done and nothing has changed for this time (default: never)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code.

    Raises
    ------
    CommandRefused, DimstreamError, OSError
    """
    check_installed("tifffile", "tqdm", extras="tiff")
    # Imported only here: the rest of the client works without them.
    from tqdm.contrib.logging import logging_redirect_tqdm

    from dimstream_client.commands.folder import check_folders, exit_code, print_summary
    from dimstream_client.watching.time_series import NamingRule

    source: Path = arguments.source
    if not source.is_dir():
        raise CommandRefused(f"{source}: expected a folder to watch, there is none", UNREADABLE)
    out: Path = source if arguments.out is None else arguments.out
    if out != source:
        check_folders(source, out)
    try:
        rule = NamingRule(arguments.time_number)
    except ValueError as error:
        raise CommandRefused(f"--time-number {error}") from error
    options = _options(arguments, rule, is_beside=out == source)
    with ExitStack() as open_things:
        client = open_things.enter_context(client_of(arguments, outage_s=arguments.outage))
        client.ping()  # before anything is written
        job = _job(arguments, out, options, client, open_things)
        with logging_redirect_tqdm(), _ending_at_sigterm():
            try:
                job.run()
            except KeyboardInterrupt:
                print("stopped; the same command continues", flush=True)
    states = list(job.states.values())
    print_summary(out, states, flags=options.flags, summary=options.summary)
    return exit_code(states, out / options.summary)


def _options(arguments: argparse.Namespace, rule: NamingRule, *, is_beside: bool) -> WatchOptions:
    from dimstream_client.folders.tables import FLAGS, SUMMARY
    from dimstream_client.watching.done_files import ORDERS
    from dimstream_client.watching.watch_job import WatchOptions

    if arguments.give_up_s < arguments.settle_s:
        raise CommandRefused(
            f"--give-up-s {arguments.give_up_s:g} is less than --settle-s {arguments.settle_s:g}: a file is "
            "not read before it has settled"
        )
    prefix = "dimstream-" if is_beside else ""  # next to the user's own files
    return WatchOptions(
        poll_s=arguments.poll_s,
        settle_s=arguments.settle_s,
        give_up_s=arguments.give_up_s,
        until_quiet_s=arguments.until_quiet_s,
        key_of=ORDERS[arguments.order],
        rule=rule,
        flags=prefix + FLAGS,
        summary=prefix + SUMMARY,
    )


def _job(
    arguments: argparse.Namespace, out: Path, options: WatchOptions, client: Client, open_things: ExitStack
) -> WatchJob:
    from tqdm import tqdm

    from dimstream_client.commands import stream
    from dimstream_client.commands.folder import options_of
    from dimstream_client.commands.watch_progress import WatchProgress
    from dimstream_client.folders.record import FolderRecord
    from dimstream_client.folders.waiting_for_server import Patience
    from dimstream_client.watching.clock import SystemClock
    from dimstream_client.watching.done_files import DoneFiles, OutputNames
    from dimstream_client.watching.series_route import SeriesRoute
    from dimstream_client.watching.series_streams import SeriesStreams
    from dimstream_client.watching.watch_job import WatchJob
    from dimstream_client.watching.watched_files import WatchedFiles

    given = argparse.Namespace(**{**stream.ONLY_HERE, **vars(arguments)})
    streams = SeriesStreams(client, partial(stream.settings_of, given))
    open_things.callback(streams.close_all)
    chosen = options_of(arguments, _RESULT_OPTIONS)
    open_record: partial[FolderRecord] = partial(FolderRecord, out, chosen)
    record = FolderRecord(out, chosen, from_scratch=arguments.overwrite)
    waiting = Patience(client.ping, arguments.outage, tqdm.write)
    is_beside = out == arguments.source
    progress = WatchProgress(quiet=arguments.quiet)
    growing = argparse.Namespace(**{**vars(arguments), "incomplete": True})
    files = WatchedFiles(
        source=arguments.source,
        record=record,
        done=DoneFiles(options.rule, options.key_of, record.done.values()),
        names=OutputNames(out, is_beside=is_beside, done=record.done.values(), replaces=arguments.overwrite),
        rule=options.rule,
        route=SeriesRoute(streams, arguments.out_dtype, waiting),
        open_image=partial(open_source, arguments),
        open_growing=partial(open_source, growing),
        watcher=progress,
    )
    open_things.callback(lambda: files.record.close())
    progress.say(f"watching {arguments.source}; outputs {'next to the images' if is_beside else f'in {out}'}")
    return WatchJob(arguments.source, out, files, open_record, progress, SystemClock(), options)


@contextmanager
def _ending_at_sigterm() -> Iterator[None]:
    """End on SIGTERM in the same way as on Ctrl-C."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread: its caller ends it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
