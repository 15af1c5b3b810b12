"""The client's side of one stream, without sockets: which frames may be sent, and the effect of each answer.

Only one thread may call it. Frames are kept until their RESULT comes. For each plane, the last answered frame
is also kept, so that a restarted server can compare the next one with it. `opened` has what resuming needs.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, Union

from dimstream_client.errors import Code, StreamError
from dimstream_client.messages import Credit, Error, Frame, Opened, Result, Skip
from dimstream_client.spool import Plane, SpooledFrame

KeptFrame = Union[Frame, SpooledFrame]
Item = Union[KeptFrame, Skip]

MAX_RETRIES: Final = 5
FINAL_CODES: Final = frozenset({Code.STREAM_CLOSED, Code.BAD_TOKEN})
PATIENT_CODES: Final = frozenset({Code.SERVER_BUSY, Code.DRAINING})  # tried again until the server accepts it


class Refusal(NamedTuple):
    """The consequences of a refusal.

    Parameters
    ----------
    given_up : StreamError or None
        Why a frame or the stream gets no result; None if it will be tried again.
    resume : bool
        Whether the stream must be resumed.
    """

    given_up: StreamError | None = None
    resume: bool = False


class Session:
    """Sequence, credit and retries of one stream.

    Parameters
    ----------
    opened : Opened
        The server's answer to OPEN.
    latest : bool
        Whether the newest frame replaces a waiting one.
    """

    def __init__(self, opened: Opened, *, latest: bool) -> None:
        self.opened = opened
        self.limit = opened.limit
        self.next_result = opened.next_seq
        self.contexts: dict[Plane, KeptFrame] = {}  # the last answered frame of each plane
        self.over: StreamError | None = None
        self._latest = latest
        self._unsent: deque[Item] = deque()
        self._sent: deque[Item] = deque()
        self._sent_to = opened.next_seq - 1  # the highest number that was sent
        self._skipped_to = opened.next_seq - 1  # SKIPs up to here have already raised the limit
        self._refused = (-1, 0)  # the frame that was refused last, and the number of refusals
        self._last_seq: int | None = None

    @property
    def owed(self) -> int:
        """Number of frames that were sent and not answered."""
        return sum(not isinstance(item, Skip) for item in self._sent)

    @property
    def oldest_seq(self) -> int | None:
        """Number of the oldest frame that was accepted here and not answered."""
        items = (*self._sent, *self._unsent)
        return next((item.seq for item in items if not isinstance(item, Skip)), None)

    @property
    def frames(self) -> int:
        """Number of frames that were accepted here and not answered."""
        return self.owed + sum(not isinstance(item, Skip) for item in self._unsent)

    @property
    def is_idle(self) -> bool:
        """Whether every frame has been sent and answered."""
        return not self._unsent and not self.owed

    @property
    def last_seq(self) -> int | None:
        """The last number used by a frame or a SKIP."""
        return self._last_seq

    def offer(self, item: Item) -> None:
        """Accept a frame or a SKIP for sending."""
        if self.over is not None:
            raise self.over
        self._last_seq = _last(item)
        old = self._unsent[-1] if self._unsent else None
        if self._latest and not isinstance(item, Skip) and old is not None and not isinstance(old, Skip):
            self._unsent.pop()
            self._append_skip(Skip(old.stream, old.seq, old.seq, "replaced by a newer frame"))
        self._unsent.append(item)

    def outgoing(self, *, free_capacity: int) -> list[Item]:
        """Return what may be sent now, in order, with at most `free_capacity` frames."""
        ready: list[Item] = []
        while self._unsent and self._may_send(free_capacity=free_capacity):
            item = self._unsent.popleft()
            free_capacity -= not isinstance(item, Skip)
            self.limit += self._fresh(item)
            if isinstance(item, Skip):
                self._skipped_to = max(self._skipped_to, item.seq_to)
            self._sent.append(item)
            self._sent_to = max(self._sent_to, _last(item))
            ready.append(item)
        return ready

    def drop_unsent(self) -> None:
        """Drop what was not sent yet."""
        if self._unsent:
            self._last_seq = _first(self._unsent[0]) - 1 if _first(self._unsent[0]) else None
            self._unsent.clear()

    def credit(self, credit: Credit) -> None:
        """Set a new limit."""
        self._raise_limit(credit.limit)

    def why_not_limit(self, limit: int) -> str | None:
        """Return why this limit is not possible; None if it is."""
        most = self._sent_to + 1 + self.opened.window
        return None if limit <= most else f"its limit is {limit}, expected at most {most}"

    @property
    def oldest(self) -> KeptFrame | None:
        """The frame whose RESULT comes next; None if none is due."""
        return next((item for item in self._sent if not isinstance(item, Skip)), None)

    def result(self, result: Result) -> None:
        """Handle the answer to the oldest unanswered frame."""
        self._raise_limit(result.limit)
        self._answered(result.seq)

    def refused(self, error: Error) -> Refusal:
        """Handle a refusal of a frame or SKIP.

        The server also refuses all that was sent after it. So the stream is resumed from the first missing
        result, as after an outage; what cannot be sent again is first replaced by a SKIP.
        """
        seq, code = error.seq, error.code
        assert seq is not None
        if code in FINAL_CODES:
            return Refusal(given_up=self.end(StreamError(error)))
        place = next((place for place, item in enumerate(self._sent) if _first(item) == seq), None)
        if code == Code.DUPLICATE or place is None:
            return Refusal()
        if error.retryable and (code in PATIENT_CODES or self._may_retry(seq)):
            return Refusal(resume=True)
        item = self._sent[place]
        if isinstance(item, Skip):
            return Refusal(given_up=self.end(StreamError(error)))
        self._sent[place] = Skip(item.stream, seq, seq, f"refused: {code}")
        return Refusal(given_up=StreamError(error), resume=True)

    def end(self, error: StreamError) -> StreamError | None:
        """End the stream and drop all unanswered frames; None if that was done before."""
        if self.over is not None:
            return None
        self.over = error
        self._unsent.clear()
        self._sent.clear()
        self._last_seq = None
        return self.over

    def resumed(self, opened: Opened) -> None:
        """Continue from where the server continues: everything unanswered is sent again."""
        self.opened = opened
        self.limit = opened.limit
        self._sent_to = self._skipped_to = opened.next_seq - 1
        self._unsent.extendleft(reversed(self._sent))
        self._sent.clear()
        while self._unsent and _last(self._unsent[0]) < opened.next_seq:
            self._unsent.popleft()

    def unreadable(self, seq: int) -> None:
        """Replace a frame that can no longer be read by a SKIP."""
        while self._sent and _first(self._sent[-1]) >= seq:
            self._unsent.appendleft(self._sent.pop())
        item = self._unsent.popleft()
        self._unsent.appendleft(Skip(item.stream, seq, seq, "the frame could not be read from the spool"))

    def reference(self, seq: int) -> KeptFrame | None:
        """Return an answered frame that was kept for comparison; None if it was not."""
        return next((frame for frame in self.contexts.values() if frame.seq == seq), None)

    def _may_retry(self, seq: int) -> bool:
        """Whether the frame may be tried again after a refusal."""
        refused, times = self._refused
        self._refused = seq, times + 1 if refused == seq else 1
        return self._refused[1] <= MAX_RETRIES

    def _answered(self, seq: int) -> None:
        self.next_result = seq + 1
        while self._sent and _last(self._sent[0]) <= seq:
            item = self._sent.popleft()
            if not isinstance(item, Skip):
                self.contexts[_plane(item)] = item

    def _raise_limit(self, limit: int) -> None:
        self.limit = max(self.limit, limit)
        # A SKIP was accepted if the limit could not be this high without it.
        while (
            self._sent
            and isinstance(skip := self._sent[0], Skip)
            and skip.seq_to < limit - self.opened.window
        ):
            self._sent.popleft()
            self.next_result = max(self.next_result, skip.seq_to + 1)

    def _append_skip(self, skip: Skip) -> None:
        before = self._unsent[-1] if self._unsent else None
        if isinstance(before, Skip) and before.reason == skip.reason:
            self._unsent[-1] = Skip(skip.stream, before.seq_from, skip.seq_to, skip.reason)
        else:
            self._unsent.append(skip)

    def _fresh(self, item: Item) -> int:
        """Return by how much sending this item raises the limit."""
        if not isinstance(item, Skip):
            return 0
        return max(0, item.seq_to - max(item.seq_from - 1, self._skipped_to))

    def _may_send(self, *, free_capacity: int) -> bool:
        """Whether the next frame and the SKIPs before it may be sent; SKIPs wait so that they can be
        merged."""
        limit = self.limit
        for item in self._unsent:
            if not isinstance(item, Skip):
                return free_capacity > 0 and item.seq < limit
            limit += self._fresh(item)
        return True


def _plane(frame: KeptFrame) -> Plane:
    return frame.index.c, frame.index.z, frame.index.p


def _first(item: Item) -> int:
    return item.seq_from if isinstance(item, Skip) else item.seq


def _last(item: Item) -> int:
    return item.seq_to if isinstance(item, Skip) else item.seq
