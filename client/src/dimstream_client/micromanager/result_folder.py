"""A folder of results: the denoised frames of each stream as an OME-TIFF, with a JSON line for each frame."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from dimstream_client import arguments, folder_lock
from dimstream_client.client import Client
from dimstream_client.errors import SpoolError
from dimstream_client.keys import FilePath
from dimstream_client.messages import Result
from dimstream_client.micromanager.left_streams import LeftStream
from dimstream_client.micromanager.result_images import (
    IMAGE,
    LINES,
    NOTE,
    ImageNote,
    ResultImages,
    path_of,
)
from dimstream_client.micromanager.run_report import RunReport
from dimstream_client.micromanager.sent_stream import ResultNotKept, SentFrame
from dimstream_client.micromanager.spools import left_in
from dimstream_client.quality import parts_of, plain

LOCK: Final = ".dimstream-results.lock"


class ResultFolder:
    """Writes the results of `MdaStream`: ``run-0001.ome.tif`` and ``run-0001.flags.jsonl`` for each stream.

    Pass `take` as ``on_result``. After a crash, `resume` completes unfinished streams.

    Parameters
    ----------
    folder : path
        Created if missing. Only one program at a time can write into it.
    spool : path
        Spool of the `MdaStream`.
    z_step_um : float, optional
        Distance between the planes of z-stacks, micrometres.

    Raises
    ------
    SpoolError
        When another program writes there, or the note of an unfinished image is not valid.
    OSError

    Examples
    --------
    ::

        with Client("tcp://127.0.0.1:5570") as client, ResultFolder("D:/run", spool="D:/spool") as results:
            results.resume(client) with MdaStream(core, client, spool="D:/spool", on_result=results.take) as
            stream:
                core.run_mda(sequence, output=stream, block=True)
    """

    def __init__(self, folder: FilePath, *, spool: FilePath, z_step_um: float | None = None) -> None:
        self.folder = Path(arguments.folder("folder", folder))
        self._spool = Path(arguments.folder("spool", spool))
        self._z_step_um = z_step_um
        self._gives_up = threading.Event()
        self._images: dict[str, ResultImages] = {}
        self._mutex = threading.Lock()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / LOCK).open("ab")
        try:
            self._hold()
            for path in sorted(self.folder.glob(f"*{NOTE}")):
                note = ImageNote.read(path)
                self._images[note.stream] = ResultImages(path.with_name(path.name[: -len(NOTE)]), note)
        except BaseException:
            self._lock.close()
            raise

    def _hold(self) -> None:
        try:
            folder_lock.take(self._lock)
        except OSError:
            raise SpoolError(
                f"another program writes into {self.folder} at the moment; wait for it, or name another one"
            ) from None

    @property
    def is_unfinished(self) -> bool:
        """Whether an interrupted program left something to resume."""
        return bool(self._images or left_in(self._spool))

    def take(self, result: Result, sent: SentFrame) -> None:
        """Write a result; while the disk is full, wait.

        Raises
        ------
        ResultNotKept
            When the folder was closed meanwhile.
        """
        images = self._images_of(sent)
        if not images.put(result.pixels, line_of(result, sent), gives_up=self._gives_up):
            raise ResultNotKept(f"frame {result.seq} was not written to {images.stem}; it comes again")

    def resume(
        self, client: Client, *, on_result: Callable[[Result], object] | None = None
    ) -> list[RunReport]:
        """Send the remaining frames of the spool, write their results, and return a report for each stream.

        Streams that the server no longer has are sent again as new streams.

        Raises
        ------
        SpoolError
            When another program uses the spool.
        StreamError, Timeout, ConnectionLost
        """
        reports = []
        for number, folder in enumerate(left_in(self._spool), 1):
            left = LeftStream(client, folder, number=number)
            images = self._images.get(left.name)

            def keep(result: Result, sent: SentFrame) -> None:
                self.take(result, sent)
                if on_result is not None:
                    on_result(result)

            reports.append(left.finish(keep, next_result=None if images is None else images.next_seq))
        return reports

    def close(self) -> None:
        """Close the files and write the plane of each page; frames in the spool can be resumed.

        Raises
        ------
        OSError
        """
        self._gives_up.set()
        left = {name_of(folder) for folder in left_in(self._spool)}
        with self._mutex:
            try:
                for stream, images in self._images.items():
                    images.describe()
                    if stream not in left:
                        images.forget_note()
            finally:
                self._images.clear()
                self._lock.close()

    def __enter__(self) -> ResultFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _images_of(self, sent: SentFrame) -> ResultImages:
        with self._mutex:
            if sent.stream not in self._images:
                request = sent.request
                note = ImageNote(
                    stream=sent.stream,
                    shape=request.shape,
                    dtype=request.out_dtype,
                    pixel_size_um=request.pixel_size_um,
                    z_step_um=self._z_step_um,
                    frame_interval_s=request.frame_interval_s,
                    channels=request.channels,
                )
                self._images[sent.stream] = ResultImages(self._free_stem(), note)
            return self._images[sent.stream]

    def _free_stem(self) -> Path:
        number = 1
        while any(path_of(self.folder / f"run-{number:04d}", end).exists() for end in (IMAGE, LINES, NOTE)):
            number += 1
        return self.folder / f"run-{number:04d}"


def line_of(result: Result, sent: SentFrame) -> dict[str, Any]:
    """Return the JSON line of a result."""
    line = {name: plain(value) for name, value in parts_of(result).items()}
    line.update(index=plain(sent.index), event=dict(sent.event), t_acq=sent.t_acq)
    line.update(mean_photons=sent.mean_photons, settings=dict(sent.settings))
    return line


def name_of(folder: Path) -> str:
    """Return the server's id of the stream of a spool; empty if its note cannot be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / "stream.json").read_text("utf-8"))["stream"])
    return ""
