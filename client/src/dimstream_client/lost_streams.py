"""Streams that must be resumed, until they are resumed or ended.

Reasons are a broken network, a restarted server, and an answer that is damaged or does not fit. A stream
continues from the first missing result.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from functools import partial
from typing import Final

from dimstream_client.answer_checks import why_not_opened
from dimstream_client.errors import Code, ConnectionLost, DimstreamError, ProtocolError, StreamError
from dimstream_client.messages import Closed, Opened, Updated
from dimstream_client.pending_requests import PendingRequests
from dimstream_client.session import MAX_RETRIES
from dimstream_client.stream_channel import PendingRequest, StreamChannel, fail
from dimstream_client.stream_sending import Sender

_PAUSE_S: Final = 0.2  # between two connections
_MOVE_S: Final = 10.0  # for resuming at a server that answers, in addition to the allowed outage
_REFUSED_S: Final = 1.0  # before a stream is tried again that could not be resumed yet
_REPORT_EVERY_S: Final = 60.0
# Why a stream cannot be resumed yet; it is kept, and tried again.
_NOT_YET: Final = frozenset(
    {Code.SERVER_BUSY, Code.DRAINING, Code.TOO_MANY_STREAMS, Code.UNKNOWN_MODEL, Code.INTERNAL}
)
_log = logging.getLogger("dimstream")


class LostStreams:
    """Marks streams as lost, and resumes or ends them.

    Parameters
    ----------
    endpoint : str
        Endpoint for error messages.
    outage_s : float
        Seconds that streams wait for a lost server, before they end.
    lines : dict
        All streams, by name; those that end are removed.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        outage_s: float,
        channels: dict[str, StreamChannel],
        pending: PendingRequests,
        sender: Sender,
    ) -> None:
        self._endpoint = endpoint
        self._outage_s = outage_s
        self._channels = channels
        self._pending = pending
        self._sender = sender

    def distrust(self, channel: StreamChannel, what: str) -> None:
        """Request an answer again that does not fit."""
        detail = f"the server at {self._endpoint} sent an answer that does not fit: {what}"
        self.ask_again(channel, ProtocolError(Code.BAD_FIELD, detail, stream=channel.stream))

    def ask_again(self, channel: StreamChannel, error: ProtocolError) -> None:
        """Resume a stream from the first missing result, unless this was tried too often."""
        channel.damaged += 1
        if channel.damaged > MAX_RETRIES:
            self.end(channel, error)
        else:
            self.lose(channel, error)

    def retry(self, channel: StreamChannel) -> None:
        """Try to resume a stream when it is due; end it after the allowed outage."""
        now = time.monotonic()
        if channel.lost_since is None:
            return
        if now - channel.lost_since >= self._outage_s:  # below 0 while it moves
            detail = f"the server at {self._endpoint} has been away for {self._outage_s:g} s"
            self.end(channel, ConnectionLost(f"{detail}; frames in a spool are kept, see Client.resume"))
        elif channel.resume_at is not None and now >= channel.resume_at:
            channel.resume_at = None
            resumed = partial(self._resumed, channel)
            self._sender.ask(
                PendingRequest(channel.resumption(), Opened.TYPE, channel.stream, Future(), resumed)
            )

    def postpone(self, channel: StreamChannel, pending: PendingRequest) -> None:
        """Keep a request until its stream is resumed."""
        if pending.answer == Updated.TYPE:
            channel.unanswered.append(pending)
        elif pending.answer == Closed.TYPE:
            channel.closing = pending.future  # CLOSE is sent again after all answers came

    def _postpone_requests(self, channel: StreamChannel) -> None:
        for pending in self._pending.of(channel.stream):
            self.postpone(channel, pending)

    def resume(self, channel: StreamChannel, *, after_s: float = 0.0) -> None:
        """Resume a stream at a server that answers; this does not count as an outage."""
        self._postpone_requests(channel)
        channel.resume_at = time.monotonic() + after_s
        channel.lost_since = channel.resume_at + _MOVE_S

    def lose(self, channel: StreamChannel, error: DimstreamError) -> None:
        """Mark a stream as lost."""
        now = time.monotonic()
        self._postpone_requests(channel)
        if channel.lost_since is None:
            channel.lost_since = now
        if now - channel.lost_since >= self._outage_s:
            self.end(channel, error)
            return
        channel.resume_at = now + _PAUSE_S
        if now - channel.reported_at > _REPORT_EVERY_S:
            channel.reported_at = now
            _log.warning("stream %s waits, nothing is lost: %s", channel.stream, error)

    def _resumed(self, channel: StreamChannel, opened: Opened) -> None:
        why_not = why_not_opened(channel.resumption(), opened)
        if why_not is not None:
            self.distrust(channel, why_not)
            return
        if channel.reported_at:
            away_s = time.monotonic() - (channel.lost_since or 0.0)
            _log.warning("stream %s continues after %.1f s", channel.stream, away_s)
        channel.lost_since, channel.reported_at = None, 0.0
        channel.session.resumed(opened)
        self._sender.send_references(channel)
        for pending in channel.unanswered:
            self._sender.ask(pending)
        channel.unanswered.clear()
        self._sender.pump(channel)

    def not_resumed(self, channel: StreamChannel, error: StreamError) -> None:
        """Handle a refused resumption: try it later, or end the stream."""
        if error.code in _NOT_YET:
            self.lose(channel, error)
            if channel.is_lost:
                channel.resume_at = time.monotonic() + _REFUSED_S
        else:
            self.end(channel, error)

    def end(self, channel: StreamChannel, error: DimstreamError) -> None:
        """End a stream, with all frames that are not answered."""
        self._channels.pop(channel.stream, None)
        self._postpone_requests(channel)
        for pending in channel.unanswered:
            fail(pending.future, error)
        if channel.closing is not None:
            fail(channel.closing, error)
        try:
            channel.report_refusals(wait=False)
            channel.receiver.fail(error, frames=channel.session.frames, is_final=True)
        except Exception:  # other streams end too, and must be notified
            _log.exception("stream %s ended without being closed", channel.stream)
        channel.receiver.end()
