"""Keys and tokens in files: one per line; the first word is its kind, so that kinds cannot be confused.

::

    dimstream-public rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7 microscope-3 dimstream-secret
    JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6 microscope-3 dimstream-token
    2n2IuT3ckKPfqDjz0xWZxW0ZyhGm1Oi2uB2g0fM1nQc microscope-3

Keys are CURVE keys, 32 bytes in Z85; a token is 256 random bits in base64url. The last word is a name for
people. Empty lines and lines that begin with ``#`` are ignored. Messages never contain secrets.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Union

import zmq

from dimstream_client.errors import KeyFileError

FilePath = Union[str, "os.PathLike[str]"]
PUBLIC: Final = "dimstream-public"
SECRET: Final = "dimstream-secret"
TOKEN: Final = "dimstream-token"
_Z85: Final = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}", re.ASCII)
_BEARER: Final = re.compile(r"[0-9a-zA-Z._~+/=-]{43,256}", re.ASCII)
_FORMS: Final = {PUBLIC: _Z85, SECRET: _Z85, TOKEN: _BEARER}
_NAME: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)
_LARGEST: Final = 1_000_000  # bytes; a larger file is not a file of keys
_OURS_ONLY: Final = 0o600
_EVERYBODYS: Final = 0o644
_OUR_FOLDER: Final = 0o700


class Entry(NamedTuple):
    """A key or token, and the name of its owner."""

    value: str
    name: str


@dataclass(frozen=True)
class CurveKeys:
    """The client's keys, and the server's public key; all in Z85."""

    server: bytes
    public: bytes
    secret: bytes = field(repr=False)


def read_entries(path: FilePath, kind: str) -> list[Entry]:
    """Return the keys or tokens of a file, in its order.

    Parameters
    ----------
    kind : str
        `PUBLIC`, `SECRET` or `TOKEN`; lines of another kind are refused.

    Raises
    ------
    KeyFileError
        When the file cannot be read, or contains a line of another kind.
    """
    return list(_entries(Path(path), kind))


def read_only_entry(path: FilePath, kind: str) -> Entry:
    """Return the one key or token of a file.

    Raises
    ------
    KeyFileError
        As for `read_entries`, and when there is not exactly one.
    """
    entries = read_entries(path, kind)
    if len(entries) != 1:
        raise KeyFileError(f"{path}: expected one line {kind}, got {len(entries)}")
    return entries[0]


def read_secret(path: FilePath) -> tuple[bytes, bytes]:
    """Return the public and the secret key from a file of a secret key.

    Raises
    ------
    KeyFileError
    """
    secret = read_only_entry(path, SECRET).value.encode()
    try:
        return zmq.curve_public(secret), secret
    except (zmq.ZMQError, ValueError):
        raise KeyFileError(f"{path}: expected a CURVE key in Z85, got one that cannot be decoded") from None


def choose_curve_keys(*, server_key: FilePath | None, key: FilePath | None) -> CurveKeys | None:
    """Return the keys for an encrypted connection; None if no keys are given.

    Parameters
    ----------
    server_key : path, optional
        The server's public key, ``server.pub``.
    key : path, optional
        The client's secret key, such as ``client.key``.

    Raises
    ------
    KeyFileError
        When a key cannot be read, or only one of the two is given.
    """
    if server_key is None and key is None:
        return None
    if server_key is None or key is None:
        stated = "server_key" if key is None else "key"
        raise KeyFileError(f"expected both server_key and key, or neither, got {stated} alone")
    public, secret = read_secret(key)
    return CurveKeys(server=read_only_entry(server_key, PUBLIC).value.encode(), public=public, secret=secret)


def make_pair(folder: FilePath, name: str) -> tuple[Path, Path]:
    """Make a key pair, NAME.key (readable only by its owner) and NAME.pub; return their paths.

    Raises
    ------
    KeyFileError
        When one of the files exists, the name is not valid, or the folder cannot be written.
    """
    _check_name(name)
    secret_path, public_path = Path(folder) / f"{name}.key", Path(folder) / f"{name}.pub"
    _refuse_existing(secret_path, public_path)
    public, secret = zmq.curve_keypair()
    _write(secret_path, SECRET, Entry(secret.decode(), name), _OURS_ONLY)
    _write(public_path, PUBLIC, Entry(public.decode(), name), _EVERYBODYS)
    return secret_path, public_path


def make_token(folder: FilePath, name: str) -> Path:
    """Make a token for HTTP, NAME.token (only for its owner and the server); return its path.

    Raises
    ------
    KeyFileError
        When the file exists, the name is not valid, or the folder cannot be written.
    """
    _check_name(name)
    path = Path(folder) / f"{name}.token"
    _refuse_existing(path)
    _write(path, TOKEN, Entry(secrets.token_urlsafe(32), name), _OURS_ONLY)
    return path


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner can access, independent of the umask; an existing one is not changed.

    Raises
    ------
    OSError
    """
    if folder.is_dir():
        return
    if not folder.parent.exists():
        make_private_folder(folder.parent)
    folder.mkdir(mode=_OUR_FOLDER, exist_ok=True)
    folder.chmod(_OUR_FOLDER)


def _entries(path: Path, kind: str) -> Iterator[Entry]:
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] != kind:
            came = words[0] if words[0] in _FORMS else "another word"
            raise KeyFileError(f"{path}, line {number}: expected a line that begins with {kind}, got {came}")
        if len(words) < 2 or not _FORMS[kind].fullmatch(words[1]):
            wanted = "43 or more characters of base64url" if kind == TOKEN else "40 characters of Z85"
            raise KeyFileError(
                f"{path}, line {number}: expected {wanted} behind {kind}, got something else; "
                "copy the whole line, or make another by keygen"
            )
        yield Entry(words[1], " ".join(words[2:]) or path.stem)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise KeyFileError(f"{path}: expected a file of keys, got more than {_LARGEST} bytes")
        return content.decode("ascii")
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: expected lines of ASCII, got other bytes") from None
    except ValueError:  # a path with a zero byte
        raise KeyFileError(f"cannot read {str(path)!r}: expected a path, got no such thing") from None


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise KeyFileError(f"expected a name of letters, digits, '-', '_' and '.', got {name!r}")


def _refuse_existing(*paths: Path) -> None:
    for path in paths:
        if path.exists() or path.is_symlink():
            raise KeyFileError(f"{path} exists and is not overwritten; name another folder, or remove it")


def _write(path: Path, kind: str, entry: Entry, mode: int) -> None:
    try:
        make_private_folder(path.parent)
        # O_EXCL: an existing file is not overwritten; the mode applies from the first byte on
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(number, "w", encoding="ascii", newline="\n") as file:
            os.chmod(path, mode)  # permissions that the umask removed
            file.write(f"{kind} {entry.value} {entry.name}\n")
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from None
