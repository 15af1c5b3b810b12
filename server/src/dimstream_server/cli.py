"""`dimstream-server`: serve, gateway, keygen, alerts, bench, demo, recordings, recover."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from dimstream_client.errors import KeyFileError
from dimstream_models.extras import install_hint
from dimstream_server.alerts.command import add_alerts
from dimstream_server.monitoring.logs import set_up_logging
from dimstream_server.security.keygen import add_keygen
from dimstream_server.settings import Settings
from dimstream_server.settings_file import SettingsError, load_settings

EXIT_DRAIN_INCOMPLETE = 1
EXIT_CANNOT_START = 2
# each needs no more than Python
_SAFE_ANYWHERE = (["--version"], ["--help"], ["-h"])


_OPTIONS: Final[Mapping[str, tuple[tuple[str, str], Mapping[str, Any]]]] = {
    "--bundle": (
        ("server", "bundles"),
        {
            "action": "append",
            "metavar": "PATH",
            "help": "bundle to serve: folder, zip, or the name of one that ships; repeat it for more models"
            " (default: er-sted-light, which ships)",
        },
    ),
    "--zmq": (
        ("zmq", "endpoint"),
        {
            "metavar": "ENDPOINT",
            "help": "ZeroMQ endpoint (default: tcp://127.0.0.1:5570); port 0 picks a free one",
        },
    ),
    "--http": (
        ("http", "address"),
        {
            "metavar": "HOST:PORT",
            "help": "HTTP address (default: 127.0.0.1:8570); port 0 picks a free one",
        },
    ),
    "--device": (
        ("server", "device"),
        {
            "action": "append",
            "metavar": "DEVICE",
            "help": "where the networks run: cpu (default), cuda:N, each with its precision: cuda:N@tf32;"
            " repeat it for several devices",
        },
    ),
    "--threads": (
        ("server", "threads"),
        {
            "type": int,
            "metavar": "N",
            "help": "CPU threads of one run on each device (default: CPU devices share the cores)",
        },
    ),
    "--ready-file": (
        ("server", "ready_file"),
        {"metavar": "PATH", "help": "write a JSON file with zmq, http and pid once the server is ready"},
    ),
    "--state": (
        ("server", "state"),
        {
            "metavar": "FOLDER",
            "help": "folder of the journal, by which streams survive a restart; or `memory`",
        },
    ),
    "--server-key": (
        ("zmq", "server_secret_key"),
        {"metavar": "server.key", "help": "the server's CURVE key; connections are encrypted"},
    ),
    "--allowed-clients": (
        ("zmq", "allowed_clients"),
        {"metavar": "PATH", "help": "folder of .pub files, or a file: who may connect"},
    ),
    "--tokens": (
        ("http", "tokens"),
        {"metavar": "PATH", "help": "folder of .token files, or a file: HTTP requests must carry one"},
    ),
    "--host-name": (
        ("http", "host_names"),
        {
            "action": "append",
            "metavar": "NAME",
            "help": "name under which clients may address HTTP, in addition to loopback",
        },
    ),
    "--insecure-lan": (
        ("server", "insecure_lan"),
        {
            "action": "store_true",
            "default": None,
            "help": "listen for other machines without keys and tokens: anyone there may use the server",
        },
    ),
    "--record": (
        ("recording", "folder"),
        {"metavar": "FOLDER", "help": "folder for the recordings of streams that ask for one"},
    ),
    "--log-level": (
        ("server", "log_level"),
        {
            "choices": ("debug", "info", "warning", "error"),
            "help": "least severe event that is logged",
        },
    ),
    "--log-format": (
        ("server", "log_format"),
        {"choices": ("text", "json"), "help": "format of the log, one event a line"},
    ),
}
"""Options of `serve`: the setting that each one is, and what argparse is told of it."""

_WORKER_OPTIONS: Final[Mapping[str, tuple[tuple[str, str], Mapping[str, Any]]]] = {
    "--worker": (
        ("workers", "addresses"),
        {
            "action": "append",
            "metavar": "ENDPOINT",
            "help": "ZeroMQ endpoint of a worker, a `dimstream-server serve`; repeat it for more",
        },
    ),
    "--workers-file": (
        ("workers", "file"),
        {"metavar": "PATH", "help": "file with further workers, one a line; read again at SIGHUP"},
    ),
    "--ray": (
        ("workers", "ray"),
        {"metavar": "ADDRESS", "help": "Ray cluster that places workers: HOST:PORT, or auto; needs [ray]"},
    ),
    "--workers": (
        ("workers", "ray_workers"),
        {"type": int, "metavar": "N", "help": "how many workers Ray places (default: 2)"},
    ),
    "--store": (
        ("workers", "store"),
        {"metavar": "STORE", "help": "folder or address from which Ray's workers fetch bundles by hash"},
    ),
    "--workers-server-key": (
        ("workers", "server_key"),
        {"metavar": "server.pub", "help": "the workers' public key; connections to them are encrypted"},
    ),
    "--workers-key": (
        ("workers", "key"),
        {"metavar": "NAME.key", "help": "the gateway's secret key, which the workers admit"},
    ),
}
_GATEWAY_OPTIONS: Final = {
    **{option: each for option, each in _OPTIONS.items() if option != "--device"},
    **_WORKER_OPTIONS,
}
"""Options of `gateway`: those of `serve` but for the device, and which workers it has."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; its exit code: 0, 1 when a stop left frames unanswered, 2 when it cannot start."""
    words = list(sys.argv[1:] if argv is None else argv)
    if sys.platform == "win32" and words[:1] not in _SAFE_ANYWHERE:
        return _refuse(
            "the server needs Linux, and this is Windows; run it on a Linux machine. "
            "The acquisition PC needs only the client: dimstream-client runs on Windows"
        )
    try:
        return _run(words)
    except ModuleNotFoundError as error:
        return _refuse(install_hint(error, "dimstream-server"))


def _run(words: list[str]) -> int:
    # Imported when they are asked for: they need packages that an extra installs, or that Windows lacks.
    if words[:1] == ["bench"]:
        from dimstream_server.benchmarks import main as bench

        return int(bench(words[1:]))
    if words[:1] == ["plan"]:
        from dimstream_server.benchmarks.planning import main as plan

        return plan(words[1:])
    if words[:1] == ["demo"]:
        from dimstream_server.demo import main as demo

        return int(demo(words[1:]))
    if words[:1] == ["recordings"]:
        from dimstream_server.recording.command import main as recordings

        return recordings(words[1:])
    if words[:1] == ["recover"]:
        from dimstream_server.recording.recovering import main as recover

        return recover(words[1:])
    arguments = _parser().parse_args(words)
    try:
        return int(arguments.run(arguments))
    except (SettingsError, KeyFileError) as error:
        return _refuse(error.detail if isinstance(error, KeyFileError) else str(error))


def _refuse(why: str) -> int:
    print(f"dimstream-server: {why}", file=sys.stderr)
    return EXIT_CANNOT_START


def _serve(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    is_gateway = arguments.command == "gateway"
    if is_gateway and not settings.workers.are_named:
        return _refuse("expected workers, got none; name them by --worker, --ray or [workers]")
    if is_gateway and "device" in settings.server.model_fields_set:
        return _refuse("a gateway denoises nothing itself, got server.device; leave it out")
    if not is_gateway and settings.workers.are_named:
        return _refuse("these settings have workers; start them by `dimstream-server gateway`")
    from dimstream_server.ready_file import CannotStart

    try:
        return run_server(settings, lambda: _settings(arguments))
    except CannotStart as error:
        return _refuse(str(error))


def run_server(settings: Settings, read: Callable[[], Settings]) -> int:
    """Serve until told to stop; the exit code.

    Parameters
    ----------
    read : callable
        Reads the settings again, at SIGHUP.

    Raises
    ------
    dimstream_server.ready_file.CannotStart
    """
    import uvloop

    from dimstream_server.server_parts import load_engine
    from dimstream_server.serving import serve

    load = load_engine
    if settings.workers.ray is not None:
        from dimstream_server.cluster.loading import load_cluster

        load = load_cluster

    set_up_logging(settings.server.log_level, settings.server.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        complete = runner.run(serve(settings, read, load=load))
    if not complete:
        logging.shutdown()
        os._exit(EXIT_DRAIN_INCOMPLETE)  # threads that still wait for the device would hold the process
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dimstream-server", description="Denoise microscopy frames over ZeroMQ and HTTP."
    )
    parser.add_argument(
        "--version", action="version", version=f"dimstream-server {version('dimstream-server')}"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve_parser = commands.add_parser("serve", help="serve models until SIGTERM or Ctrl-C")
    gateway_parser = commands.add_parser("gateway", help="serve models by workers, which denoise")
    add_keygen(commands)
    add_alerts(commands, lambda path: load_settings(path, {}))
    commands.add_parser(
        "bench",
        help="measure the speed of this machine, and what the service adds to the bare network",
        add_help=False,
    )
    commands.add_parser("plan", help="how many microscopes a number of workers can serve", add_help=False)
    commands.add_parser("demo", help="stream a sample movie through a real server", add_help=False)
    commands.add_parser("recordings", help="list recordings, or delete old ones", add_help=False)
    commands.add_parser("recover", help="finish recordings after a crash", add_help=False)
    for command, options in ((serve_parser, _OPTIONS), (gateway_parser, _GATEWAY_OPTIONS)):
        _add_options(command, options)
    return parser


def _add_options(
    command: argparse.ArgumentParser, options: Mapping[str, tuple[tuple[str, str], Mapping[str, Any]]]
) -> None:
    command.set_defaults(run=_serve)
    for option, (_, arguments) in options.items():
        command.add_argument(option, **arguments)
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE.toml",
        help="file of settings; options on the command line override it",
    )


def _settings(arguments: argparse.Namespace) -> Settings:
    options = _GATEWAY_OPTIONS if arguments.command == "gateway" else _OPTIONS
    given = {
        place: getattr(arguments, option[2:].replace("-", "_")) for option, (place, _) in options.items()
    }
    overrides = {place: value for place, value in given.items() if value is not None}
    return load_settings(arguments.config, overrides)


if __name__ == "__main__":
    sys.exit(main())
