"""Streams that survive a connection and the server: who may resume which, and from where.

Every resumption is the same, whether a cable was pulled or the server died. The stream is restored from the
journal, as it was before the first result that its client does not have.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, fields, replace
from typing import Final

from dimstream_client.messages import Open
from dimstream_client.quality import Thresholds, plain
from dimstream_client.wire import decode, encode
from dimstream_server.engine.protocol import EngineResult, InForce, ModelInfo
from dimstream_server.engine.resume_state import Plane, PlaneRecord, ResumeState
from dimstream_server.errors import ServerBusy, UnknownModel
from dimstream_server.problem_details import RequestRefused
from dimstream_server.streams.journal import Entry, Journal, StreamSnapshot, UpdateEntry
from dimstream_server.streams.journal_thread import JournalThread
from dimstream_server.streams.stream import LAST_SEQ, ServerStream

_TOKEN_BYTES: Final = 16
# Fields that may differ from the first OPEN of a stream.
_MAY_DIFFER: Final = ("client", "user", "window", "next_result", "stream", "resume_token")


@dataclass(frozen=True, slots=True)
class Resumption:
    """A stream that may be resumed.

    Parameters
    ----------
    opened : Open
        The first OPEN of the stream.
    model, thresholds
        Those of its next frame.
    later : tuple of UpdateEntry
        Changes for later frames.
    by_operators : tuple of UpdateEntry
        Operators' changes for that frame or later ones, which the client may not know yet.
    """

    entry: Entry
    opened: Open
    snapshot: StreamSnapshot
    next_seq: int
    model: str
    thresholds: Thresholds
    later: tuple[UpdateEntry, ...]
    by_operators: tuple[UpdateEntry, ...]

    @property
    def resume_state(self) -> ResumeState:
        """The resume state for the engine."""
        snapshot = self.snapshot
        return ResumeState(
            *(self.next_seq, snapshot.planes, snapshot.counts, self.thresholds), decided=snapshot.decided
        )


async def enter(
    journal: JournalThread,
    stream: ServerStream,
    message: Open,
    *,
    model_sha256: str,
    precision: str,
    codec: str,
    opened_at: float,
) -> str:
    """Write a new stream to the journal, and return its resume token.

    Raises
    ------
    ServerBusy
        When the journal cannot be written, so that the stream could not be resumed.
    """
    token = secrets.token_hex(_TOKEN_BYTES)
    entry = Entry(
        id=stream.id,
        token=_digest(token),
        owner=stream.owner,
        opened=bytes(encode(message)[1]),
        model=stream.model,
        model_sha256=model_sha256,
        precision=precision,
        codec=codec,
        opened_at=opened_at,
    )
    await journal.ask(lambda opened: opened.begin(entry))
    if journal.problem is not None:
        raise ServerBusy(
            f"the stream could not be resumed, because the server {journal.problem}; correct that first"
        )
    return token


async def look_up(journal: JournalThread, stream: str, token: str, *, owner: str) -> Entry:
    """Return the entry of the stream that an OPEN resumes.

    Raises
    ------
    RequestRefused, ServerBusy
    """
    entry = await journal.ask(lambda opened: opened.find(stream))
    if entry is None and journal.problem is not None:
        raise ServerBusy(
            f"the stream cannot be looked up, because the server {journal.problem}; correct that first"
        )
    # The same answer for all errors, so that no client can find out which streams exist.
    known = b"\0" * hashlib.sha256().digest_size if entry is None else entry.token
    fits = hmac.compare_digest(known, _digest(token))
    if entry is None or not fits or entry.owner != owner:
        raise RequestRefused(
            "bad_token",
            f"expected a stream of this server with its token and its client's key, got {stream!r}: its "
            "lease has ended, the journal was deleted, or it belongs to another client; open a new stream",
        )
    return entry


async def plan_resumption(
    journal: JournalThread,
    entry: Entry,
    message: Open,
    served: Mapping[str, ModelInfo],
    *,
    precision: str,
) -> Resumption:
    """Return where a stream continues; later entries of the journal are deleted.

    No connection may have the stream meanwhile.

    Parameters
    ----------
    served : mapping
        Models by id.
    precision : str
        Precision of this server's predictions.

    Raises
    ------
    RequestRefused
        When OPEN differs from the first one, or requests results that the client had acknowledged.
    UnknownModel
        When the stream's model is no longer served, or has another precision.
    """
    if entry.precision not in (None, precision):
        raise UnknownModel(
            f"the stream was denoised in {entry.precision}, but this server uses {precision}, which gives "
            f"different pixels and thresholds; start the server with {entry.precision}, or open a new stream"
        )
    opened = _first_open(entry)
    _refuse_other_wishes(opened, message)
    next_seq = message.next_result
    if not entry.acknowledged <= next_seq <= LAST_SEQ:
        raise RequestRefused(
            "bad_field",
            f"expected next_result of at least {entry.acknowledged}, which was acknowledged, got {next_seq}",
            expected={"next_result": entry.acknowledged},
        )
    snapshot = await journal.ask(lambda opened: opened.snapshot(entry.id, next_seq))
    due = [update for update in snapshot.updates if update.from_seq <= next_seq]
    last = due[-1] if due else None
    model, sha256 = (last.model, last.model_sha256) if last else (entry.model, entry.model_sha256)
    later = snapshot.updates[len(due) :]
    for name, expected in [(model, sha256), *((one.model, one.model_sha256) for one in later)]:
        if name not in served or served[name].sha256 != expected:
            raise UnknownModel(
                f"the stream was denoised by {name} with sha256 {expected}, "
                f"got {served[name].sha256 if name in served else 'no model of this id'}; "
                "load that bundle again, or open a new stream"
            )
    return Resumption(
        entry=entry,
        opened=opened,
        snapshot=snapshot,
        next_seq=next_seq,
        model=model,
        thresholds=last.thresholds if last else served[model].thresholds,
        later=tuple(later),
        by_operators=tuple(
            one for one in due[-1:] + list(later) if one.by is not None and one.from_seq >= next_seq
        ),
    )


def wanted_references(planes: Iterable[PlaneRecord], model_sha256: str) -> dict[int, Plane]:
    """Return the frames to be sent again for comparisons, in order, and their planes."""
    return {
        record.seq: record.plane
        for record in sorted(planes, key=lambda record: record.seq)
        if record.predicted and record.model_sha256 == model_sha256
    }


def keep_result(stream: ServerStream, indexed: bool, future: Future[EngineResult], journal: Journal) -> None:
    """Write the resume state after a result to the journal, unless the stream was released.

    Parameters
    ----------
    indexed : bool
        Whether this or an earlier frame stated its index.
    """
    if not stream.released and not future.cancelled() and future.exception() is None:
        journal.answered(stream.id, future.result(), indexed=indexed)


def keep_update(stream: ServerStream, future: Future[InForce], by: str | None, journal: Journal) -> None:
    """Write a change in the engine to the journal, with the operator who requested it; None: the client."""
    if not stream.released and future.exception() is None:
        in_force = future.result()
        model = in_force.model
        journal.updated(
            stream.id, UpdateEntry(in_force.from_seq, model.id, model.sha256, in_force.thresholds, by)
        )


def keep_end(stream: ServerStream, journal: Journal) -> None:
    """Write to the journal that a stream was closed."""
    if not stream.released:
        journal.closed(stream.id)


def thresholds_again(update: UpdateEntry) -> Mapping[str, float]:
    """Return thresholds that set all of an update's values, whatever was set before."""
    return {name: value for name, value in plain(update.thresholds).items() if value is not None}


def _first_open(entry: Entry) -> Open:
    opened = decode([b"DIM1OPEN", entry.opened], max_payload_bytes=0)
    assert isinstance(opened, Open)
    return opened


def _refuse_other_wishes(opened: Open, message: Open) -> None:
    asked = replace(message, **{name: getattr(opened, name) for name in _MAY_DIFFER})
    for field in fields(Open):
        before, now = getattr(opened, field.name), getattr(asked, field.name)
        if before != now:
            raise RequestRefused(
                "bad_field",
                f"expected {field.name} {before!r}, with which the stream was opened, got {now!r}; resume "
                "it with the same value, or open a new stream",
                expected={"field": field.name},
            )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
