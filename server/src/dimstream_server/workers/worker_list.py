"""Which workers a gateway has, by its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dimstream_server.addresses import check_worker
from dimstream_server.settings import Settings, refuse_open_workers
from dimstream_server.settings_file import SettingsError

LARGEST_BYTES: Final = 2**16
MOST_WORKERS: Final = 256


def named_workers(settings: Settings) -> tuple[str, ...]:
    """Endpoints of the workers that settings name, and of those in the file that they name.

    Raises
    ------
    SettingsError
        The file cannot be read, or an address is none or must not be spoken to without keys.
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
    """Refuse more workers than there may be, and those that would be sent frames unencrypted.

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
            raise ValueError(f"{path} has more than {LARGEST_BYTES} bytes; expected a list of workers")
        lines = content.decode().splitlines()
    except OSError as error:
        raise ValueError(f"cannot read the list of workers {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text; expected a list of workers, one a line") from None
    named = [line.strip() for line in lines]
    return tuple(check_worker(line) for line in named if line and not line.startswith("#"))
