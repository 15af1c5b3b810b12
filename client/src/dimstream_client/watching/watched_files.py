"""Denoise one file of a watched folder, and add it to the record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from dimstream_client.errors import Code, ConnectionLost, DimstreamError, TiffError
from dimstream_client.file_streaming import flags_path
from dimstream_client.files import ImageStack
from dimstream_client.folders.denoise_routes import Outcome
from dimstream_client.folders.job import Watcher
from dimstream_client.folders.outputs import OutputError, done_of, files_of, part_of, publish, refuse_changed
from dimstream_client.folders.record import Done, FolderRecord, Stamp, stamp_of
from dimstream_client.messages import PlaneIndex
from dimstream_client.resume_file import count_lines
from dimstream_client.watching.done_files import DoneFiles, OutputNames, is_time_point
from dimstream_client.watching.series_route import Errand, SeriesRoute, frames_alike
from dimstream_client.watching.series_streams import ReferenceFrame
from dimstream_client.watching.time_series import NamingRule

OpenImage = Callable[[Path], ImageStack]


class NotYet(Exception):
    """The file, or another one of its set, cannot be read yet; the message says why."""


@dataclass
class WatchedFiles:
    """Denoises files when they are complete, or the existing part of a growing movie.

    Parameters
    ----------
    source : Path
        The watched folder.
    open_image, open_growing : callable
        Open an image with the options of the command; the second one also opens a growing file.
    """

    source: Path
    record: FolderRecord
    done: DoneFiles
    names: OutputNames
    rule: NamingRule
    route: SeriesRoute
    open_image: OpenImage
    open_growing: OpenImage
    watcher: Watcher
    _begun: dict[str, float] = field(default_factory=dict)

    def denoise(self, n: int, name: str, is_at_rest: Callable[[str], bool]) -> Done:
        """Denoise a file that is at rest, or the rest of it.

        Parameters
        ----------
        n : int
            Number of the file, for progress.
        is_at_rest : callable
            Returns whether another file of its set is at rest.

        Raises
        ------
        NotYet
            When it cannot be read, or a file of its set is not at rest.
        OutputError
            When its output cannot be written, or it changed meanwhile.
        DimstreamError, OSError
        """
        start = self._begun.setdefault(name, time.monotonic())
        with ExitStack() as opened:
            stack, sources = self._opened(name, opened, is_at_rest)
            out = self.names.name_of(name)
            part = part_of(self.record.folder / out)
            self.watcher.begin(n, name, stack)
            part.parent.mkdir(parents=True, exist_ok=True)
            if not frames_alike(stack, part):
                self.watcher.say(
                    f"{name}: its first frames have changed since they were read; it is denoised again"
                )
                remove_unfinished(part)
            with _discarding(part):
                outcome = self._sent(name, stack, part, len(stack), sources[0])
                self._check_unchanged(name, part, sources)
            done = done_of(name, out, sources, stack, outcome, part, time.monotonic() - start)
        publish(self.record, part, done)
        self.done.add(done)
        self._begun.pop(name, None)
        return done

    def _check_unchanged(self, name: str, part: Path, sources: tuple[Stamp, ...]) -> None:
        try:
            refuse_changed(self.source, sources)
        except (OutputError, OSError) as error:
            if not (self.source / name).exists():
                remove_unfinished(part)
            raise NotYet(f"changed while it was read: {error}") from error

    def _opened(
        self, name: str, opened: ExitStack, is_at_rest: Callable[[str], bool]
    ) -> tuple[ImageStack, tuple[Stamp, ...]]:
        try:
            first = stamp_of(self.source, name)  # before it is opened, because it may still be written
            stack = opened.enter_context(self.open_image(self.source / name))
            others = files_of(self.source, name, stack)[1:]
            sources = (first, *(stamp_of(self.source, each) for each in others))
        except TiffError as error:
            raise NotYet(str(error)) from error
        except OSError as error:
            raise NotYet(f"cannot be read: {error.strerror or error}") from error
        for each in others:
            if not is_at_rest(each):
                raise NotYet(f"{each}, which belongs to it, is still changing")
        return stack, sources

    def follow(self, name: str) -> int:
        """Denoise a growing movie up to its last but one time point; return the number of frames.

        Raises
        ------
        DimstreamError, OSError, OutputError
        """
        try:
            stamp = stamp_of(self.source, name)
            stack = self.open_growing(self.source / name)
        except (TiffError, OSError):
            return 0
        with stack:
            if not stack.axes.startswith("T") or len(stack.files) > 1:
                return 0
            part = part_of(self.record.folder / self.names.name_of(name))
            if name not in self._begun:
                self._begun[name] = time.monotonic()
                if not frames_alike(stack, part):  # those of an earlier run
                    remove_unfinished(part)
            first = count_lines(flags_path(part)) if flags_path(part).exists() else 0
            stop = _readable(stack, first, len(stack) - len(stack) // stack.shape[0])
            if stop > first:
                part.parent.mkdir(parents=True, exist_ok=True)
                with _discarding(part):
                    self._sent(name, stack, part, stop, stamp)
            return max(stop - first, 0)

    def _sent(self, name: str, stack: ImageStack, part: Path, stop: int, stamp: Stamp) -> Outcome:
        _, _, written_ns = stamp
        before, place = (None, 0)
        series = name
        if is_time_point(stack.axes):
            series = self.rule.place_of(name).series
            before, place = self.done.before(name, written_ns)
        errand = Errand(
            name=name,
            series=series,
            stack=stack,
            part=part,
            stop=stop,
            first_t=place,
            position=None if before is None else (before.file, before.frames),
            references=lambda: [] if before is None else self._frames_of(before, place - 1),
            written_s=written_ns / 1e9,
        )
        return self.route.denoise(errand, self.watcher.frame)

    def _frames_of(self, done: Done, t: int) -> list[ReferenceFrame]:
        """Return the frames of a finished file; none if it no longer exists or was changed."""
        try:
            if any(stamp_of(self.source, stamp[0]) != stamp for stamp in done.sources):
                return []
            with self.open_image(self.source / done.file) as stack:
                return list(_planes(stack, t))
        except (TiffError, OSError):
            return []


def _planes(stack: ImageStack, t: int) -> Iterator[ReferenceFrame]:
    for n in range(len(stack)):
        index = stack.index(n)
        with contextlib.suppress(TiffError):
            yield stack.read(n), PlaneIndex(t, index.c, index.z, index.p)


def _readable(stack: ImageStack, first: int, stop: int) -> int:
    """Return the end of the existing frames; frames that cannot be used for other reasons count as
    existing."""
    for n in range(first, stop):
        try:
            stack.read(n)
        except TiffError as error:
            if error.code == Code.BAD_IMAGE:
                return n
    return stop


@contextlib.contextmanager
def _discarding(part: Path) -> Iterator[None]:
    """Remove an unfinished output, unless the server was lost: then it is continued."""
    try:
        yield
    except (DimstreamError, OSError) as error:
        if not isinstance(error, ConnectionLost):
            remove_unfinished(part)
        raise


def remove_unfinished(part: Path) -> None:
    """Remove an incomplete output."""
    for path in (part, flags_path(part)):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
