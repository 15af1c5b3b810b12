"""What open streams go on from, on disk, so that neither a lost connection nor a dead server ends one.

A SQLite database in write-ahead mode, locked for one server. Everything about a frame is written before its
RESULT is sent, so whatever result a client holds, the server can go on behind it. Writes reach the operating
system at once and survive a server that is killed; they are synced to the disk at checkpoints only, so a
power failure may take the last of them, which costs an ``unjudged`` and no frame.
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
    """A stream as it was opened.

    Parameters
    ----------
    token : bytes
        SHA-256 of its resume token, which itself is nowhere kept.
    owner : str
        Public key of the client that may resume it; empty where clients have none.
    opened : bytes
        The header of its OPEN.
    model, model_sha256, codec
        What was granted.
    opened_at : float
        Seconds since 1970.
    acknowledged : int
        First result that its client does not hold safely.
    precision : str or None
        What factors were rounded to before they were multiplied; None: an older server did not say.
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
    """What an UPDATE, or an operator, has put in force from a frame on.

    Parameters
    ----------
    by : str or None
        Name of the operator; None: the stream's client has asked for it.
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
        The last frame of each plane before it; none when not `complete`.
    indexed : bool
        Whether a frame before it said where it belongs.
    complete : bool
        Whether everything before it is known.
    decided : mapping
        Of later frames that were answered, in a stream with a deadline, whether it was a fallback.
    """

    planes: tuple[PlaneRecord, ...]
    counts: Counts
    indexed: bool
    updates: tuple[UpdateEntry, ...]
    complete: bool
    decided: Mapping[int, bool] = field(default_factory=dict)


class Journal:
    """The journal of one server; whoever made it is the one thread that may use it.

    A journal that cannot be written hinders no frame: it goes on in memory, `problem` says why, and the
    disk is tried again and again. Files that somebody deletes or replaces
    are written again. Only a server that ends meanwhile has forgotten what came since.

    Parameters
    ----------
    path : Path or None
        Of the database; None keeps it in memory, where it ends with the server.

    Raises
    ------
    JournalError
        It cannot be made or written, is of another version, or another server has it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._database = JournalDatabase(path, _TABLES)
        self._write, self._read = self._database.write, self._database.read
        self.streams = frozenset(stream for (stream,) in self._read("SELECT id FROM streams", ()))
        """Ids of all streams that are kept. Never changed but replaced, so any thread may look."""

    @property
    def problem(self) -> str | None:
        """Why streams would not survive this server at present; None while they would."""
        return self._database.problem

    def look(self) -> None:
        """Look at the files, which may be deleted while nobody writes; do it about every second."""
        self._database.look()

    def together(self) -> AbstractContextManager[None]:
        """Commit what is written meanwhile at once, at the end."""
        return self._database.together()

    def close(self) -> None:
        """Write everything out and close."""
        self._database.close()

    # --- streams

    def begin(self, entry: Entry) -> None:
        """Enter a stream that was opened."""
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
        """The entry of a stream; None when there is none."""
        columns = "token, owner, opened, granted, acknowledged"
        rows = self._read(f"SELECT {columns} FROM streams WHERE id = ?", (stream,))
        if not rows:
            return None
        token, owner, opened, granted, acknowledged = rows[0]
        return Entry(stream, token, owner, opened, acknowledged=acknowledged, **json.loads(granted))

    def returned(self, stream: str) -> None:
        """Begin the lease of a stream again: its client is back."""
        self._write("UPDATE streams SET away_s = 0, closed = 0 WHERE id = ?", (stream,))

    def closed(self, stream: str) -> None:
        """Keep a stream that was closed only for a while, in case that its last results did not arrive."""
        self._write("UPDATE streams SET closed = 1 WHERE id = ?", (stream,))

    def forget(self, stream: str) -> None:
        """Forget a stream for good."""
        self._write("DELETE FROM streams WHERE id = ?", (stream,))
        for table in _BELONGING:
            self._write(f"DELETE FROM {table} WHERE stream = ?", (stream,))
        self.streams -= {stream}

    def pass_time(self, seconds: float, *, in_use: Collection[str], lease_s: float, most: int) -> list[str]:
        """Let time pass for streams whose clients are away; forget those whose lease ends, return which.

        Time is what this server has counted, so neither its own absence nor a clock that is set ends a lease.
        Of streams that are more than `most`, the owner with most of them loses a closed one, or what was
        away longest.
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
        """Keep what a stream would go on from after this result."""
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
        if result.fallback is not None:  # the clock has decided: whoever resumes is to get the same again
            self._write(
                "INSERT OR IGNORE INTO decisions VALUES (?, ?, ?)", (stream, result.seq, result.fallback)
            )

    def skipped(self, stream: str, seq_from: int, seq_to: int) -> None:
        """Keep that these frames will never come."""
        self._write("INSERT OR REPLACE INTO gaps VALUES (?, ?, ?)", (stream, seq_from, seq_to))

    def updated(self, stream: str, update: UpdateEntry) -> None:
        """Keep what will be in force from a frame on, in the place of what was to be from that frame on."""
        self._write("DELETE FROM updates WHERE stream = ? AND from_seq = ?", (stream, update.from_seq))
        self._write(
            "INSERT INTO updates SELECT ?, coalesce(max(number) + 1, 0), ?, ? FROM updates WHERE stream = ?",
            (stream, update.from_seq, json.dumps(asdict(update)), stream),
        )

    def update_at(self, stream: str, from_seq: int) -> UpdateEntry | None:
        """What an UPDATE has put in force from this frame on; None when none has."""
        rows = self._read(
            "SELECT in_force FROM updates WHERE stream = ? AND from_seq = ? ORDER BY number DESC LIMIT 1",
            (stream, from_seq),
        )
        return _update_entry(rows[0][0]) if rows else None

    def needs(self) -> dict[str, list[str]]:
        """Streams that could be resumed only with a model, by its id."""
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
        """Forget what only results that the client holds safely would need."""
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
        """A stream as it was before frame `next_seq`; what came behind will come again and is forgotten."""
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
