"""Bundles in one store for all machines, by the SHA-256 of their zip: a gateway publishes, workers fetch."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import zipfile
from pathlib import Path
from typing import Final

import httpx

from dimstream_server.errors import StartError

LARGEST_BYTES: Final = 2**31
_PIECE: Final = 2**20
_TIMEOUT_S: Final = 60.0
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold: the same bundle is the same bytes


class StoreError(StartError):
    """A bundle cannot be published or fetched; the text says which, and what to do."""

    code = "bundle_store"


def is_address(store: str) -> bool:
    """Whether a store is on the network, and no folder."""
    return store.startswith(("http://", "https://"))


def publish(bundle: Path, store: Path | None) -> str:
    """Put a bundle into a store's folder, unless it is there; return the SHA-256 of its zip, in hexadecimal.

    Parameters
    ----------
    store : Path or None
        None: nothing is put anywhere.

    Raises
    ------
    StoreError
    """
    try:
        content = bundle.read_bytes() if bundle.is_file() else _packed(bundle)
        digest = hashlib.sha256(content).hexdigest()
        if store is None:
            return digest
        store.mkdir(parents=True, exist_ok=True)
        if not _is_whole(store / f"{digest}.zip", digest):
            _write(store / f"{digest}.zip", content)
    except OSError as error:
        raise StoreError(
            f"bundle {bundle} cannot be put into the store {store}: {error.strerror or error}"
        ) from error
    return digest


def fetch(digest: str, store: str, cache: Path) -> Path:
    """The zip of a bundle on this machine, fetched where the cache lacks it, or holds it damaged.

    Parameters
    ----------
    digest : str
        SHA-256 of the zip, in hexadecimal.
    store : str
        A folder, or an address that begins with http:// or https://.

    Raises
    ------
    StoreError
        It is not in the store, or what is there under its name has another hash.
    """
    place = cache / f"{digest}.zip"
    try:
        if _is_whole(place, digest):
            return place
        content = _read(f"{digest}.zip", store)
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise StoreError(
                f"expected a bundle with SHA-256 {digest} in {store}, got {found}; put the right one there"
            )
        cache.mkdir(parents=True, exist_ok=True)
        _write(place, content)
    except (OSError, httpx.HTTPError) as error:
        raise StoreError(f"bundle {digest} cannot be fetched from {store} to {cache}: {error}") from error
    return place


def _read(name: str, store: str) -> bytes:
    if not is_address(store):
        path = Path(store) / name
        if path.stat().st_size > LARGEST_BYTES:
            raise StoreError(f"expected a bundle of at most {LARGEST_BYTES} bytes, {path} is larger")
        return path.read_bytes()
    content = bytearray()
    with httpx.stream("GET", f"{store.rstrip('/')}/{name}", timeout=_TIMEOUT_S) as answer:
        answer.raise_for_status()
        for piece in answer.iter_bytes(_PIECE):
            content += piece
            if len(content) > LARGEST_BYTES:
                raise StoreError(f"expected a bundle of at most {LARGEST_BYTES} bytes, {name} is larger")
    return bytes(content)


def _packed(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH), path.read_bytes())
    return packed.getvalue()


def _is_whole(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest


def _write(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    new.write_bytes(content)
    os.replace(new, path)
