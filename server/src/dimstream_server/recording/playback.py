"""Reads frames of a recording, also while it grows: from the lines of its frames, without its metadata."""

from __future__ import annotations

import bisect
import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_client.messages import PlaneIndex
from dimstream_server.recording.description import Description
from dimstream_server.recording.formats import read_image
from dimstream_server.recording.frame_log import FRAME_LOG


@dataclass(frozen=True, slots=True, eq=False)
class PlayedFrame:
    """A recorded frame.

    Parameters
    ----------
    line : dict
        Its line in `frames.jsonl`.
    images : dict
        `raw`, `denoised` and, if they are recorded, `support` and `sd`: (H, W). A failed frame has no
        denoised image.
    """

    line: dict[str, Any]
    images: dict[str, NDArray[np.generic]]


class Playback:
    """One recording. Only one thread at a time may use it; the writer of the recording is not delayed.

    Parameters
    ----------
    folder : Path
        Folder of the recording.

    Raises
    ------
    RecordingRefused
        When there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._description = Description.read(folder)
        self._end = 0
        self._seqs = array("q")
        self._starts = array("q")  # of their lines

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of frames that were written since the last call, in order.

        Raises
        ------
        OSError
        """
        with (self._folder / FRAME_LOG).open("rb") as file:
            file.seek(self._end)
            for text in file:
                if not text.endswith(b"\n"):  # the line is still being written
                    return
                start, self._end = self._end, self._end + len(text)
                line = json.loads(text)
                if "event" not in line and line["seq"] is not None:
                    self._seqs.append(line["seq"])
                    self._starts.append(start)
                    yield line

    def frame(self, seq: int) -> PlayedFrame | None:
        """Return a frame; None if it is not recorded.

        Raises
        ------
        OSError, ValueError
        """
        for _ in self.lines():
            pass
        place = self._place(seq)
        if place is None:
            return None
        with (self._folder / FRAME_LOG).open("rb") as file:
            file.seek(self._starts[place])
            line = json.loads(file.readline())
        kinds = [kind for kind in self._description.dtypes if kind != "denoised" or line["status"] == "done"]
        index = PlaneIndex(**line["index"])
        images = {
            kind: read_image(self._folder, self._description, kind, page=line["page"], index=index)
            for kind in kinds
        }
        return PlayedFrame(line, images)

    def _place(self, seq: int) -> int | None:
        """Return the index of a frame's line; the lines are in order."""
        place = bisect.bisect_left(self._seqs, seq)
        return place if place < len(self._seqs) and self._seqs[place] == seq else None
