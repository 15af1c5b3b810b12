"""Who may use the endpoints: clients by keys, requests by tokens; both can be taken back at any time."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from dimstream_client.keys import PUBLIC, TOKEN, Entry, read_secret
from dimstream_server.security.credential_files import CredentialFiles
from dimstream_server.settings import Settings

LOOK_S: Final = 1.0
REMINDER_S: Final = 600.0
_OTHERS: Final = 0o007
_TOKEN_SUFFIX: Final = ".token"
_SCHEME: Final = "bearer"
_log = logging.getLogger(__name__)
_insecure_log = logging.getLogger(f"{__name__}.insecure_lan")
_insecure_log.setLevel(logging.WARNING)  # whatever the rest of the log leaves out


class AllowedClients:
    """Public keys of the clients that may connect, each with a name for people.

    Parameters
    ----------
    path : Path
        A folder of ``.pub`` files, or one file.

    Raises
    ------
    KeyFileError
    """

    def __init__(self, path: Path) -> None:
        self._files = CredentialFiles(path, PUBLIC, ".pub")
        self._names = _names(self._files)

    def __len__(self) -> int:
        return len(self._names)

    def look(self) -> bool:
        """Look at the files again; return whether they say something else."""
        changed = self._files.look()
        if changed:
            self._names = _names(self._files)  # replaced as a whole: other threads read it
        return changed

    def name_of(self, key: str) -> str | None:
        """The name of a client by its public key (Z85); None where it may not connect."""
        return self._names.get(key)


class Holder(NamedTuple):
    """Whose token a request carries."""

    digest: bytes
    name: str


class Tokens:
    """Tokens of which an HTTP request must carry one.

    Parameters
    ----------
    path : Path
        A folder of ``.token`` files, or one file.

    Raises
    ------
    KeyFileError
    """

    def __init__(self, path: Path) -> None:
        self._files = CredentialFiles(path, TOKEN, _TOKEN_SUFFIX)
        self._holders = _holders(self._files)

    def __len__(self) -> int:
        return len(self._holders)

    def look(self) -> bool:
        """Look at the files again; return whether they say something else."""
        changed = self._files.look()
        if changed:
            self._holders = _holders(self._files)
        return changed

    def holder_of(self, authorization: bytes) -> Holder | None:
        """Whose token an ``Authorization`` header carries; None where it is nobody's.

        How long this takes does not tell how much of a token was right, nor which of them.
        """
        scheme, _, token = authorization.partition(b" ")
        digest = _digest(token.strip())
        found = None
        for holder in self._holders:
            if hmac.compare_digest(holder.digest, digest):
                found = holder
        return found if scheme.lower() == _SCHEME.encode() else None

    def has(self, digest: Hashable) -> bool:
        """Whether the holder of this digest still has a token."""
        return any(holder.digest == digest for holder in self._holders)


@dataclass(frozen=True)
class Access:
    """What the endpoints are locked with; a lock that is None is open."""

    secret_key: bytes | None = field(default=None, repr=False)
    clients: AllowedClients | None = None
    tokens: Tokens | None = None
    viewer_tokens: Tokens | None = None
    analysis_tokens: Tokens | None = None
    operator_tokens: Tokens | None = None

    def look(self) -> bool:
        """Look at all files again; return whether one says something else."""
        some = (self.clients, self.tokens, self.viewer_tokens, self.analysis_tokens, self.operator_tokens)
        changed = [one.look() for one in some if one is not None]
        return any(changed)

    async def watch(self, on_change: Callable[[], None]) -> None:
        """Look again every `LOOK_S` seconds, for ever; call `on_change` on this loop after a change."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                if await asyncio.to_thread(self.look):
                    self._log_entries("changed")
                    on_change()
            except Exception:  # who is taken off the list later must not stay in for that
                _log.exception("cannot read keys and tokens event=internal_error")

    def tell(self) -> None:
        """Say in the log who may come in."""
        self._log_entries("read")

    def _log_entries(self, verb: str) -> None:
        for what, some in (
            ("allowed clients", self.clients),
            ("tokens", self.tokens),
            ("viewer tokens", self.viewer_tokens),
            ("analysis tokens", self.analysis_tokens),
            ("operator tokens", self.operator_tokens),
        ):
            if some is not None:
                if len(some) or some is self.operator_tokens:  # to have no operator is common
                    _log.info("admitted clients event=access what=%s how=%s count=%d", what, verb, len(some))
                else:
                    _log.warning("no client is admitted event=access what=%s how=%s count=%d", what, verb, 0)


def read_access(settings: Settings) -> Access:
    """Read all keys and tokens.

    Raises
    ------
    KeyFileError
        One of the files cannot be read or holds something else.
    """
    key, clients, tokens = settings.zmq.server_secret_key, settings.zmq.allowed_clients, settings.http.tokens
    viewer_tokens, analysis_tokens = settings.http.viewer_tokens, settings.http.analysis_tokens
    operator_tokens = settings.http.operator_tokens
    for path in (key, tokens, viewer_tokens, analysis_tokens, operator_tokens):
        if path is not None:
            _warn_of_readers(path)
    return Access(
        secret_key=None if key is None else read_secret(key)[1],
        clients=None if clients is None else AllowedClients(clients),
        tokens=None if tokens is None else Tokens(tokens),
        viewer_tokens=None if viewer_tokens is None else Tokens(viewer_tokens),
        analysis_tokens=None if analysis_tokens is None else Tokens(analysis_tokens),
        operator_tokens=None if operator_tokens is None else Tokens(operator_tokens),
    )


def warn_of_open_endpoints(settings: Settings) -> None:
    """Say that the endpoints are open, where `insecure_lan` asked for that."""
    if settings.server.insecure_lan:
        _insecure_log.warning(
            "nothing is encrypted: anyone who reaches the server may use it and read what others send "
            "event=insecure_lan zmq=%s http=%s",
            *(settings.zmq.endpoint, settings.http.address),
        )


async def keep_warning(settings: Settings) -> None:
    """`warn_of_open_endpoints` every `REMINDER_S` seconds, for ever."""
    while True:
        await asyncio.sleep(REMINDER_S)
        warn_of_open_endpoints(settings)


def _warn_of_readers(path: Path) -> None:
    for one in sorted(path.glob(f"*{_TOKEN_SUFFIX}")) if path.is_dir() else [path]:
        if one.exists() and one.stat().st_mode & _OTHERS:
            _log.warning("every user of this machine can read it; chmod 600 it event=loose_file path=%s", one)


def _names(files: CredentialFiles) -> dict[str, str]:
    return {entry.value: entry.name for entry in files.entries}


def _holders(files: CredentialFiles) -> tuple[Holder, ...]:
    return tuple(_holder(entry) for entry in files.entries)


def _holder(entry: Entry) -> Holder:
    return Holder(_digest(entry.value.encode()), entry.name)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
