"""``dimstream denoise FOLDER OUT_FOLDER``: options, progress and the summary of a folder."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from dimstream_client.commands import stream
from dimstream_client.commands.exit_codes import DONE, INCOMPLETE, UNREADABLE, CommandRefused, say
from dimstream_client.commands.reading import description_of, open_source, remarks_on
from dimstream_client.credentials import client_of, http_client_of
from dimstream_client.files import ImageStack
from dimstream_client.folders.denoise_routes import RequestRoute, Route, StreamRoute
from dimstream_client.folders.job import FolderJob
from dimstream_client.folders.record import FolderRecord
from dimstream_client.folders.scanning import Scan, scan
from dimstream_client.folders.tables import COUNTED, FLAGS, SUMMARY, FileState
from dimstream_client.folders.waiting_for_server import Patience

_RESULT_OPTIONS: Final = (
    *("model", "out_dtype", "split_every", "offset", "gain", "match_pixel_size", "output"),
    *("series", "axes", "incomplete", "pixel_size", "z_step", "frame_interval"),
)
"""Options that affect the outputs."""
_LISTED: Final = 50


def denoise_folder(arguments: argparse.Namespace, *, by_stream: bool) -> int:
    """Denoise the images of a folder and return the exit code.

    Raises
    ------
    CommandRefused, DimstreamError, OSError
    """
    source, out, at_once = arguments.source, arguments.out, arguments.files
    if at_once > 1 and not by_stream:
        raise CommandRefused(
            f"--files {at_once} needs the ZeroMQ endpoint (tcp://), got one of HTTP; leave --files out"
        )
    check_folders(source, out)
    found = scan(source, without=out)
    if not found.files:
        raise CommandRefused(
            f"there are no images in {source}: {_passed_over(found) or 'it is empty'}", UNREADABLE
        )
    with ExitStack() as open_things:
        route = _route(arguments, open_things, by_stream=by_stream)  # checks that the server answers
        record = open_things.enter_context(
            FolderRecord(out, options_of(arguments, _RESULT_OPTIONS), from_scratch=arguments.overwrite)
        )
        _print_found(source, found)
        kind = Progress if at_once == 1 else ProgressOfSeveral
        watcher = kind(len(found.files), quiet=arguments.quiet)
        job = FolderJob(
            source, out, found, record, route, lambda path: open_source(arguments, path), watcher,
            replaces=arguments.overwrite, at_once=at_once,
        )  # fmt: skip
        with logging_redirect_tqdm():
            try:
                states = job.run()
            except BaseException:
                print_summary(out, list(job.states.values()))
                raise
    print_summary(out, states)
    return exit_code(states, out / SUMMARY)


def check_folders(source: Path, out: Path) -> None:
    """Refuse an output folder that is or contains the input folder.

    Raises
    ------
    CommandRefused
    """
    if out.exists() and not out.is_dir():
        raise CommandRefused(
            f"{source} is a folder, so the output must be a folder; {out} is a file: name another"
        )
    here, there = source.resolve(), out.resolve()
    if here == there:
        raise CommandRefused(f"{out} is the input folder; name another one, for example a folder in it")
    if there in here.parents:
        raise CommandRefused(
            f"{out} contains the input folder {source}: outputs could lie among inputs; name another"
        )


def _route(arguments: argparse.Namespace, open_things: ExitStack, *, by_stream: bool) -> Route:
    if not by_stream:
        http = http_client_of(arguments)
        models = http.models()  # a wrong address is reported at once, and not after hours
        del models
        patience = Patience(http.models, arguments.outage, tqdm.write)
        from dimstream_client.commands.denoise import query_of

        return RequestRoute(http, arguments.model, query_of(arguments), patience)
    client = open_things.enter_context(client_of(arguments, outage_s=arguments.outage))
    client.ping()
    given = argparse.Namespace(**{**vars(arguments), **stream.ONLY_HERE})
    patience = Patience(client.ping, arguments.outage, tqdm.write)
    return StreamRoute(client, lambda stack: stream.settings_of(given, stack), patience)


def options_of(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the options that affect the outputs, as read back from JSON."""
    given = {name: getattr(arguments, name) for name in names}
    if not given.get("match_pixel_size"):
        given.pop(
            "match_pixel_size", None
        )  # folders that were begun before this option existed can be continued
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


class Progress:
    """Prints a line for each file, and the progress in the current one."""

    def __init__(self, files: int, *, quiet: bool) -> None:
        self._files, self._quiet = files, quiet
        self._bar: Any = None
        self._begun = 0

    def begin(self, n: int, name: str, stack: ImageStack) -> None:
        """See `Watcher`."""
        self._begun = n
        self.say(f"[{n}/{self._files}] {name}: {description_of(stack)}")
        for remark in remarks_on(stack):
            self.say(f"  note: {remark}")
        if not self._quiet:
            self._bar = tqdm(total=len(stack), unit="frame", leave=False)

    def frame(self, counts: dict[str, int]) -> None:
        """See `Watcher`."""
        if self._bar is not None:
            self._bar.set_postfix({flag: k for flag, k in counts.items() if k}, refresh=False)
            self._bar.update()

    def end(self, n: int, state: FileState) -> None:
        """See `Watcher`."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        done = state.done
        stated = "" if done is None else f", {_flags(done.counts)}"
        before = " before" if done is not None and self._begun != n else ""
        why = f": {state.reason}" if state.reason else ""
        self.say(f"[{n}/{self._files}] {state.file}: {state.state}{before}{stated}{why}")

    def say(self, text: str) -> None:
        """See `Watcher`."""
        if not self._quiet:
            tqdm.write(text, file=sys.stdout)


class ProgressOfSeveral(Progress):
    """The same for several files at once, with one bar for all their frames."""

    def __init__(self, files: int, *, quiet: bool) -> None:
        super().__init__(files, quiet=quiet)
        self._opened: set[int] = set()
        self._frames = None if quiet else tqdm(total=0, unit="frame", leave=False)

    def begin(self, n: int, name: str, stack: ImageStack) -> None:
        """See `Watcher`."""
        self._opened.add(n)
        self.say(f"[{n}/{self._files}] {name}: {description_of(stack)}")
        for remark in remarks_on(stack):
            self.say(f"  note: {remark}")
        if self._frames is not None:
            self._frames.total += len(stack)
            self._frames.refresh()

    def frame(self, counts: dict[str, int]) -> None:
        """See `Watcher`."""
        if self._frames is not None:
            self._frames.update()

    def end(self, n: int, state: FileState) -> None:
        """See `Watcher`."""
        self._begun = n if n in self._opened else 0
        super().end(n, state)


def _flags(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {flag}" for flag, n in counts.items() if n)


def _print_found(source: Path, found: Scan) -> None:
    print(
        f"{source}: {len(found.files)} images" + (f"; {_passed_over(found)}" if _passed_over(found) else "")
    )
    for note in found.notes:
        print(f"  note: {note}", flush=True)


def _passed_over(found: Scan) -> str:
    """Return a description of the files that are not images."""
    if not found.others:
        return ""
    kinds = ", ".join(f"{n} {ending}" for ending, n in found.others.most_common(_LISTED))
    return f"not read, because they are not images: {kinds}"


def print_summary(out: Path, states: list[FileState], *, flags: str = FLAGS, summary: str = SUMMARY) -> None:
    """Print the files that failed or are incomplete, and the totals; `summary.csv` has every file."""
    not_well = [state for state in states if not state.is_well]
    for state in not_well[:_LISTED]:
        print(f"{state.file}: {state.state}{f': {state.reason}' if state.reason else ''}")
    if len(not_well) > _LISTED:
        print(f"… and {len(not_well) - _LISTED} more, see {out / summary}")
    kinds = Counter(state.state for state in states)
    counts: Counter[str] = Counter()
    for state in states:
        counts.update(state.done.counts if state.done else {})
    stated = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    frames = ", ".join(f"{counts[flag]} {flag}" for flag in COUNTED if counts[flag]) or "none"
    print(
        f"{out}: files: {stated}; frames: {frames}; flags in {out / flags}, files in {out / summary}",
        flush=True,
    )


def exit_code(states: list[FileState], summary: Path) -> int:
    """Return the exit code: whether a file failed or is incomplete."""
    if not_well := sum(not state.is_well for state in states):
        return say(f"{not_well} of {len(states)} files failed or are incomplete; see {summary}", INCOMPLETE)
    return DONE
