"""Check that the packages of an extra are installed, before a command needs them."""

from __future__ import annotations

from importlib.util import find_spec

from dimstream_client.commands.exit_codes import CommandRefused


def check_installed(*packages: str, extras: str) -> None:
    """Refuse a command whose packages are missing, and say how to install them.

    Parameters
    ----------
    packages : str
        Import names.
    extras : str
        Extras of the client with these packages, separated by commas.

    Raises
    ------
    CommandRefused
    """
    missing = [name for name in packages if not find_spec(name)]
    if missing:
        raise CommandRefused(f'this needs {" and ".join(missing)}: pip install "dimstream-client[{extras}]"')
