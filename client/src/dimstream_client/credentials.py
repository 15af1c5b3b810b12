"""Keys and tokens of the program ``dimstream``: options, environment variables, ``keygen``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Final

from dimstream_client.client import Client
from dimstream_client.http_client import HttpClient
from dimstream_client.keys import TOKEN, make_pair, read_only_entry

_KEY: Final = "DIMSTREAM_KEY"
_SERVER_KEY: Final = "DIMSTREAM_SERVER_KEY"
_TOKEN_FILE: Final = "DIMSTREAM_TOKEN_FILE"


def add_keys(command: argparse.ArgumentParser) -> None:
    """Add the options for keys of a command that uses ZeroMQ."""
    _add(command, "--key", _KEY, "NAME.key", "your secret key, for a server that expects keys")
    _add(command, "--server-key", _SERVER_KEY, "server.pub", "the server's public key")


def add_token(command: argparse.ArgumentParser) -> None:
    """Add the option for a token of a command that uses HTTP."""
    _add(command, "--token-file", _TOKEN_FILE, "NAME.token", "your token, for a server that expects one")


def add_keygen(commands: Any) -> None:
    """Add the command that makes a key pair."""
    keygen = commands.add_parser(
        "keygen",
        help="make a key, for a server that expects keys",
        description=(
            "Make NAME.key, your secret key, and NAME.pub, for the server. Existing files are not "
            "overwritten."
        ),
    )
    keygen.add_argument("folder", type=Path, metavar="FOLDER")
    keygen.add_argument(
        "--name", default="client", help="name of the client in the server's log (default: client)"
    )
    keygen.set_defaults(run=_keygen)


def client_of(arguments: argparse.Namespace, *, outage_s: float = 0) -> Client:
    """Return a client with the keys of the options of `add_keys`.

    Raises
    ------
    KeyFileError, ConnectionLost
    """
    return Client(
        arguments.server,
        timeout_s=arguments.timeout,
        outage_s=outage_s,
        server_key=arguments.server_key,
        key=arguments.key,
    )


def http_client_of(arguments: argparse.Namespace) -> HttpClient:
    """Return a client of the HTTP endpoint with the token of the option of `add_token`.

    Raises
    ------
    KeyFileError, ConnectionLost
    """
    path = arguments.token_file
    token = None if path is None else read_only_entry(path, TOKEN).value
    return HttpClient(arguments.server, timeout_s=arguments.timeout, token=token)


def _add(command: argparse.ArgumentParser, option: str, variable: str, metavar: str, text: str) -> None:
    default = os.environ.get(variable)
    command.add_argument(
        option,
        type=Path,
        metavar=metavar,
        default=Path(default) if default else None,
        help=f"{text} (default: ${variable})",
    )


def _keygen(arguments: argparse.Namespace) -> int:
    secret, public = make_pair(arguments.folder, arguments.name)
    print(f"{secret}: secret, keep it on this machine\n{public}: give this file to whoever runs the server")
    return 0
