"""The workers of a gateway, from its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dimstream_server.addresses import check_worker
from dimstream_server.settings import Settings, refuse_open_workers
from dimstream_server.settings_file import SettingsError

LARGEST_BYTES: Final = 2**16
MOST_WORKERS: Final = 256


def named_workers(settings: Settings) -> tuple[str, ...]:
    """Return the endpoints of the workers in the settings, and in the file that these name.

    Raises
    ------
    SettingsError
        When the file cannot be read, or an address is not valid or not allowed without keys.
    """
    table = settings.workers
    try:
        listed = () if table.file is None else _listed(table.file)
        addresses = tuple(dict.fromkeys((*table.addresses, *listed)))
        check_workers(addresses, settings)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return addresses


def check_workers(addresses: tuple[str, ...], settings: Settings) -> None:
    """Refuse too many workers, and workers that would get frames unencrypted.

    Raises
    ------
    ValueError
    """
    if len(addresses) > MOST_WORKERS:
        raise ValueError(f"expected at most {MOST_WORKERS} workers, got {len(addresses)}")
    refuse_open_workers(addresses, settings.workers, settings.server)


def _listed(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise ValueError(f"expected a list of workers in {path}, got more than {LARGEST_BYTES} bytes")
        lines = content.decode().splitlines()
    except OSError as error:
        raise ValueError(f"cannot read the list of workers {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"expected a list of workers in {path}, one per line, but it is not text") from None
    named = [line.strip() for line in lines]
    return tuple(check_worker(line) for line in named if line and not line.startswith("#"))
