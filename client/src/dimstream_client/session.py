"""The client's side of one stream, without sockets: what may be sent now, and what an answer means.

One thread calls it. Frames are kept until their RESULT has come, and one more as context, so that a
restarted server could judge the next; what resuming needs besides is the stream's id and token in `opened`.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Union

from dimstream_client.errors import Code, StreamError
from dimstream_client.messages import Credit, Error, Frame, Opened, Result, Skip

Item = Union[Frame, Skip]

MAX_RETRIES: Final = 5
FINAL_CODES: Final = frozenset({Code.DRAINING, Code.UNKNOWN_STREAM, Code.STREAM_CLOSED, Code.BAD_TOKEN})


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
        self.context: Frame | None = None
        self.over: StreamError | None = None
        self.is_waiting = False  # the server was too busy: whoever sends waits a little, then resets this
        self._latest = latest
        self._unsent: deque[Item] = deque()
        self._sent: deque[Item] = deque()
        self._skipped_to = opened.next_seq - 1  # SKIPs up to here have raised the limit already
        self._echoes: dict[int, int] = {}  # refusals yet to come of what was sent behind a refused frame
        self._tries: dict[int, int] = {}
        self._last_seq: int | None = None

    @property
    def owed(self) -> int:
        """Frames that were sent and not answered."""
        return sum(isinstance(item, Frame) for item in self._sent)

    @property
    def oldest_owed(self) -> int | None:
        """Number of the oldest frame that was sent and not answered."""
        return next((item.seq for item in self._sent if isinstance(item, Frame)), None)

    @property
    def frames(self) -> int:
        """Frames that were taken and not answered."""
        return self.owed + sum(isinstance(item, Frame) for item in self._unsent)

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
        if self._latest and isinstance(item, Frame) and isinstance(old, Frame):
            self._unsent.pop()
            self._append_skip(Skip(old.stream, old.seq, old.seq, "replaced by a newer frame"))
        self._unsent.append(item)

    def outgoing(self, *, room: int) -> list[Item]:
        """Return what may be sent now, in order, with at most `room` frames."""
        ready: list[Item] = []
        while not self.is_waiting and self._unsent and self._may_send(room=room):
            item = self._unsent.popleft()
            room -= isinstance(item, Frame)
            self.limit += self._fresh(item)
            if isinstance(item, Skip):
                self._skipped_to = max(self._skipped_to, item.seq_to)
            self._sent.append(item)
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

    def result(self, result: Result) -> bool:
        """Take the answer to a frame; False when it has come before."""
        self._raise_limit(result.limit)
        return self._answered(result.seq)

    def lost_result(self, seq: int) -> bool:
        """Take note that the answer to a frame came damaged; the credit rule says what it carried."""
        self._raise_limit(seq + 1 + self.opened.window)
        return self._answered(seq)

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
            return self._end(error)
        if code == Code.DUPLICATE or not known:
            return None
        expected = _expected_seq(error)
        start = seq if expected is None else expected
        if error.retryable and (code == Code.SERVER_BUSY or self._may_retry(start)):
            self.is_waiting = code == Code.SERVER_BUSY
            self._rewind(start, behind=seq)
            if code == Code.OVER_CREDIT and self.owed:
                self.limit = min(self.limit, seq)
            return None
        if any(isinstance(item, Skip) and item.seq_from == seq for item in self._sent):
            return self._end(error)
        self._give_up(seq, already_passed=expected is not None and expected > seq, code=code)
        return StreamError(error)

    def _end(self, error: Error) -> StreamError | None:
        if self.over is not None:
            return None
        self.over = StreamError(error)
        self._unsent.clear()
        # A server that drains still answers what it has accepted.
        refused = error.seq if error.code == Code.DRAINING and error.seq is not None else 0
        while self._sent and _first(self._sent[-1]) >= refused:
            self._sent.pop()
        self._last_seq = refused - 1 if refused else None
        return self.over

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

    def _answered(self, seq: int) -> bool:
        if seq < self.next_result:
            return False
        self.next_result = seq + 1
        while self._sent and _last(self._sent[0]) <= seq:
            item = self._sent.popleft()
            if isinstance(item, Frame):
                self.context = item
        self._forget(seq)
        return True

    def _raise_limit(self, limit: int) -> None:
        self.limit = max(self.limit, limit)
        # A SKIP is behind us once the limit could not be so high without it.
        while (
            self._sent
            and isinstance(skip := self._sent[0], Skip)
            and skip.seq_to < limit - self.opened.window
        ):
            self._sent.popleft()
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
        if isinstance(item, Frame):
            return 0
        return max(0, item.seq_to - max(item.seq_from - 1, self._skipped_to))

    def _may_send(self, *, room: int) -> bool:
        """Whether the next frame, and the SKIPs before it, may go; SKIPs wait so that they can grow."""
        limit = self.limit
        for item in self._unsent:
            if isinstance(item, Frame):
                return room > 0 and item.seq < limit
            limit += self._fresh(item)
        return True


def _first(item: Item) -> int:
    return item.seq if isinstance(item, Frame) else item.seq_from


def _last(item: Item) -> int:
    return item.seq if isinstance(item, Frame) else item.seq_to


def _expected_seq(error: Error) -> int | None:
    seq = (error.expected or {}).get("seq")
    return seq if type(seq) is int and seq >= 0 else None
