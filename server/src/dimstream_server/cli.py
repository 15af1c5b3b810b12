"""`dimstream-server`: serve, bench, demo."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from dimstream_server.logs import set_up_logging
from dimstream_server.serving import CannotStart, serve
from dimstream_server.settings import Settings, SettingsError, load_settings

EXIT_DRAIN_INCOMPLETE = 1
EXIT_CANNOT_START = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; its exit code: 0, 1 when a stop left frames unanswered, 2 when it cannot start."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["bench"]:
        from dimstream_server.benchmarks import main as bench

        return int(bench(words[1:]))
    if words[:1] == ["demo"]:
        from dimstream_server.demo import main as demo

        return int(demo(words[1:]))
    arguments = _parser().parse_args(words)
    try:
        return run_server(_settings(arguments))
    except (SettingsError, CannotStart) as error:
        print(f"dimstream-server: {error}", file=sys.stderr)
        return EXIT_CANNOT_START


def run_server(settings: Settings) -> int:
    """Serve until told to stop; the exit code.

    Raises
    ------
    dimstream_server.serving.CannotStart
    """
    set_up_logging(settings.server.log_level, settings.server.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        complete = runner.run(serve(settings))
    if not complete:
        logging.shutdown()
        os._exit(EXIT_DRAIN_INCOMPLETE)  # threads that still wait for the device would hold the process
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dimstream-server", description="Denoise microscopy frames over ZeroMQ and HTTP."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve_parser = commands.add_parser("serve", help="serve bundles until SIGTERM or Ctrl-C")
    commands.add_parser("bench", help="measure what the service adds to the bare network", add_help=False)
    commands.add_parser("demo", help="stream a sample movie through a real server", add_help=False)
    add = serve_parser.add_argument
    add("--bundle", action="append", metavar="PATH", help="folder or zip; give it again for more models")
    add("--zmq", metavar="ENDPOINT", help="tcp://127.0.0.1:PORT or ipc://PATH; port 0 picks a free one")
    add("--http", metavar="HOST:PORT", help="port 0 picks a free one")
    add("--device", metavar="DEVICE", help="cpu or cuda:N")
    add("--ready-file", metavar="PATH", help="JSON with zmq, http and pid, written once everything is warm")
    add("--state", metavar="FOLDER", help="of the journal, by which streams outlive the server; or `none`")
    add("--log-level", choices=("debug", "info", "warning", "error"))
    add("--log-format", choices=("text", "json"), help="how an event is written, one a line")
    add("--config", type=Path, metavar="FILE.toml", help="settings; what is given here wins over them")
    return parser


def _settings(arguments: argparse.Namespace) -> Settings:
    given: dict[tuple[str, str], Any] = {
        ("server", "bundles"): arguments.bundle,
        ("zmq", "endpoint"): arguments.zmq,
        ("http", "address"): arguments.http,
        ("server", "device"): arguments.device,
        ("server", "ready_file"): arguments.ready_file,
        ("server", "state"): arguments.state,
        ("server", "log_level"): arguments.log_level,
        ("server", "log_format"): arguments.log_format,
    }
    overrides = {place: value for place, value in given.items() if value is not None}
    return load_settings(arguments.config, overrides)


if __name__ == "__main__":
    sys.exit(main())
