"""``dimstream models`` and ``dimstream ping``: list a server's models, and check that it answers."""

from __future__ import annotations

import argparse
import time
from typing import Any

from dimstream_client import credentials
from dimstream_client.commands.arguments import add_timeout
from dimstream_client.commands.exit_codes import DONE
from dimstream_client.credentials import client_of, http_client_of


def add(commands: Any) -> None:
    """Add the commands to the subparsers of ``dimstream``."""
    models = commands.add_parser("models", help="list the models that a server has")
    models.add_argument("--server", required=True, metavar="http://HOST:PORT")
    credentials.add_token(models)
    add_timeout(models, 10.0)
    models.set_defaults(run=_models)

    ping = commands.add_parser("ping", help="check that a server can be reached")
    ping.add_argument("--server", required=True, metavar="tcp://HOST:PORT")
    credentials.add_keys(ping)
    add_timeout(ping, 10.0)
    ping.set_defaults(run=_ping)


def _models(arguments: argparse.Namespace) -> int:
    for model in http_client_of(arguments).models():
        gain, offset = model.get("gain"), model.get("offset")
        scale = "no scale" if gain is None else f"{gain:g} * prediction {offset or 0:+g}"
        print(f"{model['id']}\t{model['sha256'][:12]}\t{model['name']}\t{scale}")
    return DONE


def _ping(arguments: argparse.Namespace) -> int:
    with client_of(arguments) as client:
        start = time.perf_counter()
        pong = client.ping()
        elapsed_ms = (time.perf_counter() - start) * 1e3
    print(
        f"{arguments.server}: answers in {elapsed_ms:.2f} ms, {pong.queue} frames waiting, "
        f"boot {pong.boot_id}"
    )
    return DONE
