"""The resume state of open streams on disk, so that streams survive lost connections and a dead server.

A SQLite database in write-ahead mode, locked for one server. Everything about a frame is written before its
RESULT is sent, so the server can always continue after any result that a client has. Writes reach the
operating system at once, and survive if the server is killed. They are synced to the disk only at
checkpoints. So a power failure may lose the last ones, which causes an ``unjudged`` flag but loses no frame.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from dimstream_client.quality import Thresholds, plain
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.engine.resume_state import Counts, PlaneRecord
from dimstream_server.streams.journal_database import JournalDatabase, JournalError

__all__ = ["CLOSED_LEASE_S", "Entry", "Journal", "JournalError", "StreamSnapshot", "UpdateEntry"]
CLOSED_LEASE_S: Final = 3600.0
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS streams (
    id TEXT PRIMARY KEY, token BLOB NOT NULL, owner TEXT NOT NULL, opened BLOB NOT NULL,
    granted TEXT NOT NULL, acknowledged INTEGER NOT NULL DEFAULT 0, away_s REAL NOT NULL DEFAULT 0,
    closed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS frames (
    stream TEXT NOT NULL, seq INTEGER NOT NULL, c INTEGER NOT NULL, z INTEGER NOT NULL, p INTEGER NOT NULL,
    record TEXT NOT NULL, PRIMARY KEY (stream, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gaps (
    stream TEXT NOT NULL, seq_from INTEGER NOT NULL, seq_to INTEGER NOT NULL, PRIMARY KEY (stream, seq_from)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS updates (
    stream TEXT NOT NULL, number INTEGER NOT NULL, from_seq INTEGER NOT NULL, in_force TEXT NOT NULL,
    PRIMARY KEY (stream, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions (
    stream TEXT NOT NULL, seq INTEGER NOT NULL, fallback INTEGER NOT NULL, PRIMARY KEY (stream, seq)
) WITHOUT ROWID;
"""
_BELONGING: Final = ("frames", "gaps", "updates", "decisions")
_DUMP: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Entry:
    """A stream with its settings at opening.

    Parameters
    ----------
    token : bytes
        SHA-256 of its resume token, which itself is not stored.
    owner : str
        Public key of the client that may resume it; empty without keys.
    opened : bytes
        The header of its OPEN.
    model, model_sha256, codec
        Model and codec that were granted.
    opened_at : float
        Seconds since 1970.
    acknowledged : int
        First result that its client has not stored safely.
    precision : str or None
        Precision of its predictions; None: written by an older server.
    """

    id: str
    token: bytes
    owner: str
    opened: bytes
    model: str
    model_sha256: str
    codec: str
    opened_at: float
    acknowledged: int = 0
    precision: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateEntry:
    """A change of model or thresholds from a frame on, by an UPDATE or an operator.

    Parameters
    ----------
    by : str or None
        Name of the operator; None: the stream's client.
    """

    from_seq: int
    model: str
    model_sha256: str
    thresholds: Thresholds
    by: str | None = None


@dataclass(frozen=True, slots=True)
class StreamSnapshot:
    """A stream before one of its frames.

    Parameters
    ----------
    planes : tuple of PlaneRecord
        State of each plane before it; empty unless `complete`.
    indexed : bool
        Whether an earlier frame stated its index.
    complete : bool
        Whether everything before it is known.
    decided : mapping
        For later frames that were answered, in a stream with a deadline: whether they were fallbacks.
    """

    planes: tuple[PlaneRecord, ...]
    counts: Counts
    indexed: bool
    updates: tuple[UpdateEntry, ...]
    complete: bool
    decided: Mapping[int, bool] = field(default_factory=dict)


class Journal:
    """The journal of one server. Only the thread that created it may use it.

    If the journal cannot be written, frames are not affected: it continues in memory, `problem` states the
    reason, and the disk is tried again regularly. Deleted or replaced files are written again. Entries are
    lost only if the server ends meanwhile.

    Parameters
    ----------
    path : Path or None
        Path of the database; None: it is in memory, and ends with the server.

    Raises
    ------
    JournalError
        When it cannot be created or written, has another version, or another server uses it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._database = JournalDatabase(path, _TABLES)
        self._write, self._read = self._database.write, self._database.read
        self.streams = frozenset(stream for (stream,) in self._read("SELECT id FROM streams", ()))
        """Ids of all stored streams. It is never changed but replaced, so any thread may read it."""

    @property
    def problem(self) -> str | None:
        """Why streams would not survive a crash of this server now; None while they would."""
        return self._database.problem

    def look(self) -> None:
        """Check the files, which may have been deleted; call it about every second."""
        self._database.look()

    def together(self) -> AbstractContextManager[None]:
        """Commit all writes in this context together, at its end."""
        return self._database.together()

    def close(self) -> None:
        """Write everything and close."""
        self._database.close()

    # --- streams

    def begin(self, entry: Entry) -> None:
        """Add a new stream."""
        granted = {
            name: getattr(entry, name)
            for name in ("model", "model_sha256", "codec", "opened_at", "precision")
        }
        self._write(
            "INSERT INTO streams (id, token, owner, opened, granted) VALUES (?, ?, ?, ?, ?)",
            (entry.id, entry.token, entry.owner, entry.opened, json.dumps(granted)),
        )
        self.streams |= {entry.id}

    def find(self, stream: str) -> Entry | None:
        """Return the entry of a stream; None if there is none."""
        columns = "token, owner, opened, granted, acknowledged"
        rows = self._read(f"SELECT {columns} FROM streams WHERE id = ?", (stream,))
        if not rows:
            return None
        token, owner, opened, granted, acknowledged = rows[0]
        return Entry(stream, token, owner, opened, acknowledged=acknowledged, **json.loads(granted))

    def returned(self, stream: str) -> None:
        """Reset the lease of a stream, because its client is back."""
        self._write("UPDATE streams SET away_s = 0, closed = 0 WHERE id = ?", (stream,))

    def closed(self, stream: str) -> None:
        """Keep a closed stream for a short time, in case its last results did not arrive."""
        self._write("UPDATE streams SET closed = 1 WHERE id = ?", (stream,))

    def forget(self, stream: str) -> None:
        """Delete a stream."""
        self._write("DELETE FROM streams WHERE id = ?", (stream,))
        for table in _BELONGING:
            self._write(f"DELETE FROM {table} WHERE stream = ?", (stream,))
        self.streams -= {stream}

    def pass_time(self, seconds: float, *, in_use: Collection[str], lease_s: float, most: int) -> list[str]:
        """Advance the time of streams whose clients are away; delete those whose lease has ended, and return
        their ids.

        Only the running time of servers counts, so neither downtime nor a change of the clock ends a lease.
        If there are more than `most` streams, the owner with most of them loses a closed one, or the one that
        was away longest.
        """
        away = f"id NOT IN ({', '.join('?' * len(in_use))})"
        self._write(f"UPDATE streams SET away_s = away_s + ? WHERE {away}", (seconds, *in_use))
        rows = self._read(
            "SELECT id, owner, away_s > iif(closed, min(?, ?), ?) FROM streams "
            f"WHERE {away} ORDER BY closed DESC, away_s DESC",
            (lease_s, CLOSED_LEASE_S, lease_s, *in_use),
        )
        gone = [stream for stream, _, has_ended in rows if has_ended]
        left = [(stream, owner) for stream, owner, has_ended in rows if not has_ended]
        while len(left) > most:
            owners = [owner for _, owner in left]
            largest = max(set(owners), key=owners.count)
            gone.append(left.pop(owners.index(largest))[0])
        for stream in gone:
            self.forget(stream)
        return gone

    # --- frames

    def answered(self, stream: str, result: EngineResult, *, indexed: bool) -> None:
        """Store the state from which a stream would continue after this result."""
        plane = result.plane
        if plane is None or result.counts is None:
            return
        record = {
            "t": plane.t,
            "model_sha256": plane.model_sha256,
            "predicted": plane.predicted,
            "judge": plane.judge,
            "counts": plain(result.counts),
            "indexed": indexed,
            **({"fallback": True} if plane.fallback else {}),
        }
        self._write(
            "INSERT OR REPLACE INTO frames VALUES (?, ?, ?, ?, ?, ?)",
            (stream, plane.seq, *plane.plane, _DUMP(record)),
        )
        if (
            result.fallback is not None
        ):  # this depended on time; after a resumption, it must be the same again
            self._write(
                "INSERT OR IGNORE INTO decisions VALUES (?, ?, ?)", (stream, result.seq, result.fallback)
            )

    def skipped(self, stream: str, seq_from: int, seq_to: int) -> None:
        """Store that these frames will never arrive."""
        self._write("INSERT OR REPLACE INTO gaps VALUES (?, ?, ?)", (stream, seq_from, seq_to))

    def updated(self, stream: str, update: UpdateEntry) -> None:
        """Store a change from a frame on; it replaces an earlier change from the same frame."""
        self._write("DELETE FROM updates WHERE stream = ? AND from_seq = ?", (stream, update.from_seq))
        self._write(
            "INSERT INTO updates SELECT ?, coalesce(max(number) + 1, 0), ?, ? FROM updates WHERE stream = ?",
            (stream, update.from_seq, json.dumps(asdict(update)), stream),
        )

    def update_at(self, stream: str, from_seq: int) -> UpdateEntry | None:
        """Return the change from this frame on; None if there is none."""
        rows = self._read(
            "SELECT in_force FROM updates WHERE stream = ? AND from_seq = ? ORDER BY number DESC LIMIT 1",
            (stream, from_seq),
        )
        return _update_entry(rows[0][0]) if rows else None

    def needs(self) -> dict[str, list[str]]:
        """Return the streams that can be resumed only with a model, by model id."""
        found: dict[str, list[str]] = {}
        for stream, granted, acknowledged in self._read("SELECT id, granted, acknowledged FROM streams", ()):
            rows = self._read("SELECT in_force FROM updates WHERE stream = ? ORDER BY number", (stream,))
            updates = [_update_entry(row[0]) for row in rows]
            due = [update for update in updates if update.from_seq <= acknowledged]
            first = due[-1].model if due else json.loads(granted)["model"]
            for model in {first, *(update.model for update in updates[len(due) :])}:
                found.setdefault(model, []).append(stream)
        return found

    def acknowledged(self, stream: str, next_result: int) -> None:
        """Delete everything that is needed only for results that the client has stored safely."""
        self._write(
            "UPDATE streams SET acknowledged = max(acknowledged, ?) WHERE id = ?", (next_result, stream)
        )
        self._write(
            "DELETE FROM frames WHERE stream = ? AND seq < ? AND seq NOT IN "
            "(SELECT max(seq) FROM frames WHERE stream = ? AND seq < ? GROUP BY c, z, p)",
            (stream, next_result, stream, next_result),
        )
        self._write(
            "DELETE FROM gaps WHERE stream = ? AND seq_to < "
            "(SELECT max(seq) FROM frames WHERE stream = ? AND seq < ?)",
            (stream, stream, next_result),
        )
        self._write("DELETE FROM decisions WHERE stream = ? AND seq < ?", (stream, next_result))
        self._write(
            "DELETE FROM updates WHERE stream = ? AND number < "
            "(SELECT max(number) FROM updates WHERE stream = ? AND from_seq <= ?)",
            (stream, stream, next_result),
        )

    def snapshot(self, stream: str, next_seq: int) -> StreamSnapshot:
        """Return a stream as it was before frame `next_seq`; later data are deleted, because these frames are
        sent again."""
        for table, column in (("frames", "seq"), ("gaps", "seq_from")):
            self._write(f"DELETE FROM {table} WHERE stream = ? AND {column} >= ?", (stream, next_seq))
        rows = self._read(
            "SELECT max(seq), c, z, p, record FROM frames WHERE stream = ? GROUP BY c, z, p ORDER BY 1",
            (stream,),
        )
        gaps = self._read("SELECT seq_from, seq_to FROM gaps WHERE stream = ? ORDER BY 1", (stream,))
        updates = self._read("SELECT in_force FROM updates WHERE stream = ? ORDER BY number", (stream,))
        decisions = self._read(
            "SELECT seq, fallback FROM decisions WHERE stream = ? AND seq >= ?", (stream, next_seq)
        )
        records = [json.loads(row[4]) for row in rows]
        newest: dict[str, Any] = records[-1] if records else {"counts": {}, "indexed": False}
        last_seq = rows[-1][0] if rows else -1
        skipped = sum(seq_to - seq_from + 1 for seq_from, seq_to in gaps if seq_from > last_seq)
        complete = max([last_seq, *(seq_to for _, seq_to in gaps)]) == next_seq - 1
        counts = Counts(**newest["counts"])
        return StreamSnapshot(
            planes=tuple(map(_plane_record, rows, records)) if complete else (),
            counts=Counts(**asdict(counts) | {"skipped": counts.skipped + skipped}),
            indexed=newest["indexed"],
            updates=tuple(_update_entry(row[0]) for row in updates),
            complete=complete,
            decided={seq: bool(fallback) for seq, fallback in decisions},
        )


def _plane_record(row: Sequence[int], record: dict[str, Any]) -> PlaneRecord:
    plane = (row[1], row[2], row[3])
    return PlaneRecord(
        *(plane, row[0], record["t"], record["model_sha256"], record["predicted"], record["judge"]),
        fallback=record.get("fallback", False),
    )


def _update_entry(text: str) -> UpdateEntry:
    entry = json.loads(text)
    return UpdateEntry(**entry | {"thresholds": Thresholds(**entry["thresholds"])})
