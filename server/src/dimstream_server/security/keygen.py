"""``dimstream-server keygen``: the server's keys, and tokens for HTTP.

::

    FOLDER/server.key        the server's secret: zmq.server_secret_key
    FOLDER/server.pub        for the clients
    FOLDER/clients/          the clients' .pub files: zmq.allowed_clients
    FOLDER/tokens/NAME.token one token: for who may send it, and http.tokens
    FOLDER/analyses/NAME.token the same for an analysis, and http.analysis_tokens
    FOLDER/operators/NAME.token the same for an operator, and http.operator_tokens
"""

import argparse
from pathlib import Path
from typing import Any

from dimstream_client.errors import KeyFileError
from dimstream_client.keys import make_pair, make_private_folder, make_token

CLIENTS = "clients"
TOKENS = "tokens"
ANALYSES = "analyses"
OPERATORS = "operators"


def add_keygen(commands: Any) -> None:
    """Add the command."""
    keygen = commands.add_parser(
        "keygen",
        help="make the server's keys, or a token for HTTP",
        description="Make server.key and server.pub in FOLDER, and the folder clients/ for the keys of those "
        "who may connect; with --token, --analysis or --operator only a token for HTTP. "
        "Nothing is overwritten.",
    )
    keygen.add_argument("folder", type=Path, metavar="FOLDER")
    keygen.add_argument("--token", metavar="NAME", help="make tokens/NAME.token, and no keys")
    analysis = "make analyses/NAME.token, which allows to look and to send figures of frames; and no keys"
    keygen.add_argument("--analysis", metavar="NAME", help=analysis)
    operator = "make operators/NAME.token, which also allows to change models and thresholds; and no keys"
    keygen.add_argument("--operator", metavar="NAME", help=operator)
    keygen.set_defaults(run=_keygen)


def _keygen(arguments: argparse.Namespace) -> int:
    """Make what was asked for and say what to do with it.

    Raises
    ------
    KeyFileError
    """
    folder: Path = arguments.folder
    if arguments.token is not None:
        token = make_token(folder / TOKENS, arguments.token)
        print(f"{token}: give it to a program that sends requests\nhttp.tokens = {str(token.parent)!r}")
    if arguments.analysis is not None:
        token = make_token(folder / ANALYSES, arguments.analysis)
        print(f"{token}: give it to an analysis\nhttp.analysis_tokens = {str(token.parent)!r}")
    if arguments.operator is not None:
        token = make_token(folder / OPERATORS, arguments.operator)
        print(f"{token}: give it to an operator\nhttp.operator_tokens = {str(token.parent)!r}")
    if any(name is not None for name in (arguments.token, arguments.analysis, arguments.operator)):
        return 0
    secret, public = make_pair(folder, "server")
    clients = folder / CLIENTS
    try:
        make_private_folder(clients)
    except OSError as error:
        raise KeyFileError(f"cannot make {clients}: {error.strerror}") from None
    print(
        f"{secret}: keep it on the server\n{public}: give it to the clients\n"
        f"{clients}: put the .pub files of those who may connect here\n"
        f"zmq.server_secret_key = {str(secret)!r}\nzmq.allowed_clients = {str(clients)!r}"
    )
    return 0
