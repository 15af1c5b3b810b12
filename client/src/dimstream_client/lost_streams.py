"""Streams that the server does not know at present, until they are resumed or given up.

A cut cable, a server that was restarted, a damaged answer and one that does not fit lead here: a stream goes
on from the first result that did not come.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from functools import partial
from typing import Final

from dimstream_client.answers import why_not_opened
from dimstream_client.errors import Code, ConnectionLost, DimstreamError, ProtocolError, StreamError
from dimstream_client.lines import Asked, Line, fail
from dimstream_client.messages import Closed, Opened, Updated
from dimstream_client.pending_requests import PendingRequests
from dimstream_client.sending import Sender
from dimstream_client.session import MAX_RETRIES

_PAUSE_S: Final = 0.2  # between two connections
_MOVE_S: Final = 10.0  # that moving to another connection may take on top of the outage allowed
_REFUSED_S: Final = 1.0  # before a stream is tried again that could not be resumed yet
_TELL_EVERY_S: Final = 60.0
# Why a stream cannot be resumed yet; it is kept, and tried again.
_NOT_YET: Final = frozenset(
    {Code.SERVER_BUSY, Code.DRAINING, Code.TOO_MANY_STREAMS, Code.UNKNOWN_MODEL, Code.INTERNAL}
)
_log = logging.getLogger("dimstream")


class LostStreams:
    """Loses streams, resumes them, and ends them.

    Parameters
    ----------
    endpoint : str
        For messages.
    outage_s : float
        So long streams wait for a server that is lost, before they are given up.
    lines : dict
        All streams, by name; those that end are taken out.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        outage_s: float,
        lines: dict[str, Line],
        asked: PendingRequests,
        sender: Sender,
    ) -> None:
        self._endpoint = endpoint
        self._outage_s = outage_s
        self._lines = lines
        self._asked = asked
        self._sender = sender

    def distrust(self, line: Line, what: str) -> None:
        """Ask again for what a server sent that does not fit."""
        detail = f"the server at {self._endpoint} sent what does not fit: {what}"
        self.ask_again(line, ProtocolError(Code.BAD_FIELD, detail, stream=line.stream))

    def ask_again(self, line: Line, error: ProtocolError) -> None:
        """Resume a stream from the first result that did not come, unless that was tried often enough."""
        line.damaged += 1
        if line.damaged > MAX_RETRIES:
            self.end(line, error)
        else:
            self.lose(line, error)

    def retry(self, line: Line) -> None:
        """Try to resume a stream when it is time to; give it up after the outage that was allowed."""
        now = time.monotonic()
        if line.lost_since is None:
            return
        if now - line.lost_since >= self._outage_s:  # below 0 while it moves
            detail = f"the server at {self._endpoint} has been away for {self._outage_s:g} s"
            self.end(line, ConnectionLost(f"{detail}; frames in a spool are kept, see Client.resume"))
        elif line.resume_at is not None and now >= line.resume_at:
            line.resume_at = None
            resumed = partial(self._resumed, line)
            self._sender.ask(Asked(line.resumption(), Opened.TYPE, line.stream, Future(), resumed))

    def postpone(self, line: Line, asked: Asked) -> None:
        """Keep a request for when its stream is resumed."""
        if asked.answer == Updated.TYPE:
            line.unanswered.append(asked)
        elif asked.answer == Closed.TYPE:
            line.closing = asked.future  # CLOSE is sent again once nothing is owed

    def lose(self, line: Line, error: DimstreamError, *, moves: bool = False) -> None:
        """Take note that the server does not know a stream any more."""
        now = time.monotonic()
        for asked in self._asked.of(line.stream):
            self.postpone(line, asked)
        if moves:  # that is no outage
            line.lost_since, line.resume_at = now + _MOVE_S, now
            return
        if line.lost_since is None:
            line.lost_since = now
        if now - line.lost_since >= self._outage_s:
            self.end(line, error)
            return
        line.resume_at = now + _PAUSE_S
        if now - line.told_at > _TELL_EVERY_S:
            line.told_at = now
            _log.warning("stream %s waits, nothing is lost: %s", line.stream, error)

    def _resumed(self, line: Line, opened: Opened) -> None:
        why_not = why_not_opened(line.resumption(), opened)
        if why_not is not None:
            self.distrust(line, why_not)
            return
        if line.told_at:
            away_s = time.monotonic() - (line.lost_since or 0.0)
            _log.warning("stream %s continues after %.1f s", line.stream, away_s)
        line.lost_since, line.told_at = None, 0.0
        line.session.resumed(opened)
        self._sender.send_context(line)
        for asked in line.unanswered:
            self._sender.ask(asked)
        line.unanswered.clear()
        self._sender.pump(line)

    def not_resumed(self, line: Line, error: StreamError) -> None:
        """Take the refusal of a resumption: it can be tried later, or the stream ends."""
        if error.code in _NOT_YET:
            self.lose(line, error)
            if line.is_lost:
                line.resume_at = time.monotonic() + _REFUSED_S
        else:
            self.end(line, error)

    def end(self, line: Line, error: DimstreamError) -> None:
        """Give a stream up, with all frames that are not answered."""
        self._lines.pop(line.stream, None)
        for asked in self._asked.of(line.stream):
            self.postpone(line, asked)
        for asked in line.unanswered:
            fail(asked.future, error)
        if line.closing is not None:
            fail(line.closing, error)
        try:
            line.tell_refusals(wait=False)
            line.receiver.fail(error, frames=line.session.frames, is_final=True)
        except Exception:  # other streams end, too, and have to learn of it
            _log.exception("stream %s ended in disorder", line.stream)
        line.receiver.end()
