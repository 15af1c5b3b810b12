"""The client's side of one stream, without sockets: what may be sent now, and what an answer means.

One thread calls it. Frames are kept until their RESULT has come, and of each plane one more as context, so
that a server that has lost its memory can judge the next; what resuming needs besides is in `opened`.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Union

from dimstream_client.errors import Code, StreamError
from dimstream_client.header_checks import MAX_INTEGER
from dimstream_client.messages import Credit, Error, Frame, Opened, Result, Skip
from dimstream_client.spool import Plane, SpooledFrame

KeptFrame = Union[Frame, SpooledFrame]
Item = Union[KeptFrame, Skip]

MAX_RETRIES: Final = 5
FINAL_CODES: Final = frozenset({Code.STREAM_CLOSED, Code.BAD_TOKEN})
PATIENT_CODES: Final = frozenset({Code.SERVER_BUSY, Code.DRAINING})  # tried again until the server takes it


class Session:
    """Sequence, credit and retries of one stream.

    Parameters
    ----------
    opened : Opened
        What the server granted.
    latest : bool
        Whether the newest frame replaces the one that waits to be sent.
    """

    def __init__(self, opened: Opened, *, latest: bool) -> None:
        self.opened = opened
        self.limit = opened.limit
        self.next_result = opened.next_seq
        self.contexts: dict[Plane, KeptFrame] = {}  # the last answered frame of each plane
        self.over: StreamError | None = None
        self.is_waiting = False  # the server was too busy: whoever sends waits a little, then resets this
        self._latest = latest
        self._unsent: deque[Item] = deque()
        self._sent: deque[Item] = deque()
        self._sent_to = opened.next_seq - 1  # the last number that was ever sent
        self._skipped_to = opened.next_seq - 1  # SKIPs up to here have raised the limit already
        self._echoes: dict[int, int] = {}  # refusals yet to come of what was sent behind a refused frame
        self._tries: dict[int, int] = {}
        self._last_seq: int | None = None

    @property
    def owed(self) -> int:
        """Frames that were sent and not answered."""
        return sum(not isinstance(item, Skip) for item in self._sent)

    @property
    def oldest_owed(self) -> int | None:
        """Number of the oldest frame that was sent and not answered."""
        return None if self.oldest is None else self.oldest.seq

    @property
    def frames(self) -> int:
        """Frames that were taken and not answered."""
        return self.owed + sum(not isinstance(item, Skip) for item in self._unsent)

    @property
    def is_idle(self) -> bool:
        """Whether every frame has been sent and answered."""
        return not self._unsent and not self.owed

    @property
    def last_seq(self) -> int | None:
        """The last number that a frame or a SKIP used up."""
        return self._last_seq

    def offer(self, item: Item) -> None:
        """Take a frame, or a SKIP, that is to be sent."""
        if self.over is not None:
            raise self.over
        self._last_seq = _last(item)
        old = self._unsent[-1] if self._unsent else None
        if self._latest and not isinstance(item, Skip) and old is not None and not isinstance(old, Skip):
            self._unsent.pop()
            self._append_skip(Skip(old.stream, old.seq, old.seq, "replaced by a newer frame"))
        self._unsent.append(item)

    def outgoing(self, *, free_capacity: int) -> list[Item]:
        """Return what may be sent now, in order, with at most `room` frames."""
        ready: list[Item] = []
        while not self.is_waiting and self._unsent and self._may_send(free_capacity=free_capacity):
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
        """Forget what was not sent yet."""
        if self._unsent:
            self._last_seq = _first(self._unsent[0]) - 1 if _first(self._unsent[0]) else None
            self._unsent.clear()

    def credit(self, credit: Credit) -> None:
        """Take a new limit."""
        self._raise_limit(credit.limit)

    def why_not_limit(self, limit: int) -> str | None:
        """Return why a server that counts right cannot have set this limit; None when it can."""
        most = self._sent_to + 1 + self.opened.window
        return None if limit <= most else f"its limit is {limit}, expected at most {most}"

    @property
    def oldest(self) -> KeptFrame | None:
        """The frame whose RESULT comes next; None when none is owed."""
        return next((item for item in self._sent if not isinstance(item, Skip)), None)

    def result(self, result: Result) -> None:
        """Take the answer to the oldest frame that is owed one."""
        self._raise_limit(result.limit)
        self._answered(result.seq)

    def refused(self, error: Error) -> StreamError | None:
        """Take a refusal of a frame or SKIP; return it when the frame is given up.

        A refusal that can be retried sends everything again from the frame that the server expects.
        One that cannot drops the frame and names the hole in a SKIP, so that later frames go on.
        """
        seq, code = error.seq, error.code
        assert seq is not None
        if code == Code.SEQUENCE_GAP and self._echoes.get(seq):
            self._echoes[seq] -= 1
            return None
        known = any(item_seq == seq for item_seq in map(_first, self._sent))
        if code in FINAL_CODES:
            return self.end(StreamError(error))
        if code == Code.DUPLICATE or not known:
            return None
        expected = _expected_seq(error)
        start = seq if expected is None else min(seq, expected)
        if error.retryable and (code in PATIENT_CODES or self._may_retry(start)):
            self.is_waiting = code in PATIENT_CODES
            self._rewind(start, behind=seq)
            if code == Code.OVER_CREDIT and self.owed:
                self.limit = min(self.limit, seq)
            return None
        if any(isinstance(item, Skip) and item.seq_from == seq for item in self._sent):
            return self.end(StreamError(error))
        self._give_up(seq, already_passed=expected is not None and expected > seq, code=code)
        return StreamError(error)

    def end(self, error: StreamError) -> StreamError | None:
        """Give up the stream, and every frame that is not answered; None when that was done before."""
        if self.over is not None:
            return None
        self.over = error
        self._unsent.clear()
        self._sent.clear()
        self._last_seq = None
        return self.over

    def resumed(self, opened: Opened) -> None:
        """Begin anew where the server goes on: everything that is not answered is to be sent again."""
        self.opened = opened
        self.limit = opened.limit
        self.is_waiting = False
        self._sent_to = self._skipped_to = opened.next_seq - 1
        self._echoes.clear()
        self._tries.clear()
        self._unsent.extendleft(reversed(self._sent))
        self._sent.clear()
        while self._unsent and _last(self._unsent[0]) < opened.next_seq:
            self._unsent.popleft()

    def unreadable(self, seq: int) -> None:
        """Name the hole that a frame leaves which was to be sent, but cannot be read any more."""
        self._rewind(seq, behind=MAX_INTEGER)
        item = self._unsent.popleft()
        self._unsent.appendleft(Skip(item.stream, seq, seq, "the frame could not be read from the spool"))

    def reference(self, seq: int) -> KeptFrame | None:
        """Return an answered frame that is kept to be compared with; None when it is not."""
        return next((frame for frame in self.contexts.values() if frame.seq == seq), None)

    def _may_retry(self, start: int) -> bool:
        self._tries[start] = self._tries.get(start, 0) + 1
        return self._tries[start] <= MAX_RETRIES

    def _give_up(self, seq: int, *, already_passed: bool, code: str) -> None:
        if not already_passed:
            self._rewind(seq, behind=seq)
            item = self._unsent.popleft()
            self._unsent.appendleft(Skip(item.stream, seq, _last(item), f"refused: {code}"))
        else:
            self._sent = deque(item for item in self._sent if _first(item) != seq)
        self._tries.pop(seq, None)

    def _rewind(self, start: int, *, behind: int) -> None:
        """Move everything from `start` on back; what was sent behind a refused frame is refused as well."""
        while self._sent and _first(self._sent[-1]) >= start:
            item = self._sent.pop()
            self._unsent.appendleft(item)
            if _first(item) > behind:
                self._echoes[_first(item)] = self._echoes.get(_first(item), 0) + 1

    def _answered(self, seq: int) -> None:
        self.next_result = seq + 1
        while self._sent and _last(self._sent[0]) <= seq:
            item = self._sent.popleft()
            if not isinstance(item, Skip):
                self.contexts[_plane(item)] = item
        self._forget(seq)

    def _raise_limit(self, limit: int) -> None:
        self.limit = max(self.limit, limit)
        # A SKIP is behind us once the limit could not be so high without it.
        while (
            self._sent
            and isinstance(skip := self._sent[0], Skip)
            and skip.seq_to < limit - self.opened.window
        ):
            self._sent.popleft()
            self.next_result = max(self.next_result, skip.seq_to + 1)
            self._forget(skip.seq_to)

    def _forget(self, seq: int) -> None:
        if self._echoes:
            self._echoes = {s: n for s, n in self._echoes.items() if s > seq and n}
        if self._tries:
            self._tries = {s: n for s, n in self._tries.items() if s > seq}

    def _append_skip(self, skip: Skip) -> None:
        before = self._unsent[-1] if self._unsent else None
        if isinstance(before, Skip) and before.reason == skip.reason:
            self._unsent[-1] = Skip(skip.stream, before.seq_from, skip.seq_to, skip.reason)
        else:
            self._unsent.append(skip)

    def _fresh(self, item: Item) -> int:
        """Return by how much sending this raises the limit."""
        if not isinstance(item, Skip):
            return 0
        return max(0, item.seq_to - max(item.seq_from - 1, self._skipped_to))

    def _may_send(self, *, free_capacity: int) -> bool:
        """Whether the next frame, and the SKIPs before it, may go; SKIPs wait so that they can grow."""
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


def _expected_seq(error: Error) -> int | None:
    seq = (error.expected or {}).get("seq")
    return seq if type(seq) is int and seq >= 0 else None
