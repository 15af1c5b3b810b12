"""`frames.jsonl`: one JSON object per line, for each frame and for each event between frames.

A frame's line is written after its pixels, and makes the frame count as recorded. A frame without a complete
line was being written when the server was killed.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dimstream_client.files.hyperstack import PlacedPage
from dimstream_client.messages import PlaneIndex
from dimstream_client.quality import parts_of, plain
from dimstream_server.recording.description import InForceFrom
from dimstream_server.recording.spec import RecordedFrame

FRAME_LOG: Final = "frames.jsonl"
UNLISTED: Final = "unlisted"
"""Status of pages after the last page with a line: a power failure may lose lines."""

_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_UPDATE: Final = ("from_seq", "model", "thresholds")


@dataclass
class FrameLog:
    """Content of a recording's lines.

    Parameters
    ----------
    next_seq : int
        First frame that is not recorded.
    starts : list of int
        Offset of the line of each page, bytes.
    end : int
        End of the last valid line.
    size : int
        Size of the file; the part after `end` is an incomplete line, or damaged.
    stopped : str or None
        Why the recording stopped before its stream ended.
    damaged : bool
        Whether more than the line that was being written is unreadable.
    devices : list of str
        Devices that denoised the frames, in the order of their first frames.
    """

    recorded: list[PlacedPage] = field(default_factory=list)
    in_force: list[InForceFrom] = field(default_factory=list)
    next_seq: int = 0
    starts: list[int] = field(default_factory=list)
    end: int = 0
    size: int = 0
    stopped: str | None = None
    damaged: bool = False
    devices: list[str] = field(default_factory=list)

    def take(self, content: dict[str, Any]) -> None:
        """Add a line.

        Raises
        ------
        KeyError, TypeError, ValueError
            When it is not a valid line.
        """
        event = content.get("event")
        if event is None:
            self._take_frame(content)
        elif event == "update":
            self.in_force.append(InForceFrom.model_validate({name: content[name] for name in _UPDATE}))
        elif event == "skip":
            self.next_seq = max(self.next_seq, int(content["seq_to"]) + 1)
        elif event == "stopped":
            self.stopped = str(content["reason"])

    def _take_frame(self, content: dict[str, Any]) -> None:
        page = len(self.recorded)
        if content["page"] != page:
            raise ValueError(f"expected page {page}, got {content['page']}")
        if content["status"] == UNLISTED:
            self.recorded.append(PlacedPage(page, None, None, None, has_image=True))
            return
        index, seq = PlaneIndex(**content["index"]), int(content["seq"])
        has_image = content["status"] == "done"
        self.recorded.append(PlacedPage(page, seq, index, content["t_acq"], has_image))
        self.next_seq = max(self.next_seq, seq + 1)
        if (device := content.get("device")) is not None and device not in self.devices:
            self.devices.append(str(device))


def read_frame_log(path: Path) -> FrameLog:
    """Read the lines up to the first incomplete one.

    Raises
    ------
    OSError
    """
    lines = FrameLog()
    with path.open("rb") as file:
        for line in file:
            start = lines.end
            pages = len(lines.recorded)
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("incomplete line")
                lines.take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                lines.damaged = line.endswith(b"\n")
                break
            if len(lines.recorded) > pages:
                lines.starts.append(start)
            lines.end += len(line)
        lines.size = file.seek(0, 2)
    return lines


def frame_line(frame: RecordedFrame, page: int) -> bytes:
    """Return the line of a frame, with the same keys as the lines of `dimstream stream`."""
    result = frame.result
    return _line(
        {
            "seq": result.seq,
            "page": page,
            "index": plain(frame.index),
            "t_acq": frame.t_acq,
            **{name: plain(value) for name, value in parts_of(result).items()},
            "model": result.model_id,
            "gain": frame.gain,
            "offset": frame.offset,
            "meta": frame.meta,
            **({} if result.error is None else {"error": result.error}),
        }
    )


def unlisted_line(page: int) -> bytes:
    """Return a line for a page without one."""
    return _line({"seq": None, "page": page, "index": None, "t_acq": None, "status": UNLISTED})


def update_line(in_force: InForceFrom) -> bytes:
    """Return the line of a change of model or thresholds."""
    return _line({"event": "update", **in_force.model_dump()})


def skip_line(seq_from: int, seq_to: int, reason: str) -> bytes:
    """Return the line of frames that will never arrive."""
    return _line({"event": "skip", "seq_from": seq_from, "seq_to": seq_to, "reason": reason})


def stopped_line(reason: str) -> bytes:
    """Return the line that states why no more lines follow."""
    return _line({"event": "stopped", "reason": reason})


def _line(content: dict[str, Any]) -> bytes:
    try:
        text = _encode(content)
    except ValueError:  # a metric of a frame with extreme counts
        text = _encode(_finite(content))
    return text.encode("utf-8", "replace") + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(member) for member in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
