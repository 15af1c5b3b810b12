"""``dimstream micromanager``: run an acquisition of Micro-Manager and send its frames."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from dimstream_client import credentials
from dimstream_client.commands.arguments import (
    add_outage,
    add_timeout,
    count,
    gain,
    offset,
    seconds,
    some_path,
)
from dimstream_client.commands.exit_codes import (
    DONE,
    INCOMPLETE,
    INTERRUPTED,
    UNREADABLE,
    USAGE,
    CommandRefused,
    say,
)
from dimstream_client.credentials import client_of
from dimstream_client.errors import ArgumentError, Timeout
from dimstream_client.messages import Result
from dimstream_client.quality import parts_of, plain

if TYPE_CHECKING:
    from dimstream_client.feedback import FeedbackLoop
    from dimstream_client.micromanager import MdaDriver, MdaStream, SentFrame

_DESCRIPTION: Final = """\
Run an acquisition of Micro-Manager and send every frame to a dimstream server while it runs. CONFIG is
Micro-Manager's configuration file, or a movie (TIFF, NPY ...) that is played in a camera's place.

The acquisition waits for nothing. Writes a JSON line for each result to --flags, and the decisions of
--feedback to --decisions. With --save the server records raw and denoised frames."""
_EXAMPLES: Final = """\
examples:
  dimstream micromanager scope.cfg --mda plan.yaml --server tcp://127.0.0.1:5570 --spool spool
  dimstream micromanager scope.cfg --frames 500 --interval-s 2 --server tcp://127.0.0.1:5570
  dimstream micromanager movie.tif --frames 100 --feedback rules.toml --server tcp://127.0.0.1:5570
  dimstream micromanager scope.cfg --mda plan.yaml --feedback rules.toml --feedback-mode act \\
      --server tcp://127.0.0.1:5570"""
_LOOK_S: Final = 0.1
_CLOSE_S: Final = 60.0  # after all results came


def add(commands: Any) -> None:
    """Add the command to the subparsers of ``dimstream``."""
    command = commands.add_parser(
        "micromanager",
        help="run an acquisition of Micro-Manager and send its frames",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("config", type=some_path, metavar="CONFIG", help="NAME.cfg, or a movie")
    command.add_argument("--server", required=True, metavar="tcp://HOST:PORT", help="ZeroMQ endpoint")
    _add_plan(command)
    _add_stream(command)
    _add_feedback(command)
    add_outage(command)
    command.add_argument("--quiet", action="store_true", help="show no progress")
    credentials.add_keys(command)
    add_timeout(command, 10.0)
    command.set_defaults(run=run)


def _add_plan(command: argparse.ArgumentParser) -> None:
    plan = command.add_mutually_exclusive_group(required=True)
    plan.add_argument("--mda", type=some_path, metavar="PLAN", help="sequence of useq, .yaml or .json")
    plan.add_argument("--frames", type=count, metavar="N", help="so many time points of one plane")
    command.add_argument(
        "--interval-s", type=seconds, default=0.0, metavar="S", help="seconds between --frames (default: 0)"
    )
    command.add_argument(
        "--exposure-ms", type=_exposure, metavar="MS", help="exposure (default: the configuration's)"
    )
    command.add_argument(
        "--adapters", type=some_path, metavar="FOLDER",
        help="folder of Micro-Manager's device adapters (default: where pymmcore-plus finds them)",
    )  # fmt: skip
    command.add_argument(
        "--raw", type=some_path, metavar="NAME.ome.zarr", help="let pymmcore-plus write the raw frames there"
    )


def _add_stream(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--spool", type=some_path, metavar="FOLDER", help="keep frames there until their results came"
    )
    command.add_argument(
        "--flags", type=some_path, default=Path("micromanager.flags.jsonl"), metavar="FILE",
        help="where a line for each result goes; must not exist (default: %(default)s)",
    )  # fmt: skip
    command.add_argument("--model", metavar="ID", help="model to use; needed if the server has several")
    command.add_argument("--save", action="store_true", help="have the server record raw and denoised frames")
    command.add_argument(
        "--split-every", type=count, default=0, metavar="N",
        help="split-photon check of every N-th time point (default: of none)",
    )  # fmt: skip
    for name, kind, text in (
        ("offset", offset, "value of the camera without light: photons are (value - O) / G"),
        ("gain", gain, "detector units per photon"),
    ):
        one = command.add_mutually_exclusive_group()
        one.add_argument(f"--{name}", type=kind, metavar=name[0].upper(), help=text)
        one.add_argument(
            f"--{name}-property", metavar="DEVICE/PROPERTY", help=f"property that holds the {name}"
        )


def _add_feedback(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--feedback",
        type=some_path,
        metavar="RULES",
        help="rules and limits, .toml or .yaml: docs/feedback.md",
    )
    command.add_argument(
        "--feedback-mode", choices=("advise", "rehearse", "act"), default="advise",
        help="advise: say what might be done; rehearse: say what act would do; act: do it (default: advise)",
    )  # fmt: skip
    command.add_argument(
        "--decisions", type=some_path, metavar="FILE",
        help="where a line for each decision is added (default: beside --flags)",
    )  # fmt: skip


def _exposure(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError(f"expected milliseconds above 0, got {text}")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code.

    Raises
    ------
    CommandRefused, DimstreamError, OSError
    """
    if any(not find_spec(name) for name in ("pymmcore_plus", "tqdm", "yaml")):
        return say('this needs pymmcore-plus: pip install "dimstream-client[tiff,micromanager]"', USAGE)
    if arguments.flags.exists():
        raise CommandRefused(f"{arguments.flags} already exists; name another with --flags")
    if arguments.feedback_mode != "advise" and arguments.feedback is None:
        raise CommandRefused(f"--feedback-mode {arguments.feedback_mode} needs rules: --feedback RULES")
    try:
        plan = _plan(arguments)
        with ExitStack() as stack:
            core = stack.enter_context(_core(arguments))
            driver, loop = _feedback(arguments, core, stack)
            lines = stack.enter_context(arguments.flags.open("x", encoding="utf-8", newline="\n"))
            client = stack.enter_context(client_of(arguments, outage_s=arguments.outage))
            client.ping()  # before anything is acquired
            stream = _stream(arguments, core, client, loop, lines)
            return _report(arguments, stream, _acquire(arguments, core, stream, plan, driver))
    except ArgumentError as error:
        raise CommandRefused(error.detail) from error


def _plan(arguments: argparse.Namespace) -> Any:
    import useq
    import yaml

    if arguments.mda is None:
        return useq.MDASequence(time_plan={"interval": arguments.interval_s, "loops": arguments.frames})
    try:
        given = yaml.safe_load(arguments.mda.read_text(encoding="utf-8"))  # JSON is YAML, too
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandRefused(f"{arguments.mda}: expected YAML or JSON: {error}", UNREADABLE) from error
    known = useq.MDASequence.model_fields
    if not isinstance(given, dict) or not given.keys() <= known.keys():
        wrong = (
            ""
            if not isinstance(given, dict)
            else f", not {', '.join(sorted(map(str, given.keys() - known)))}"
        )
        raise CommandRefused(f"{arguments.mda}: expected only {', '.join(sorted(known))}{wrong}")
    try:
        return useq.MDASequence.model_validate(given)
    except ValueError as error:
        raise CommandRefused(f"{arguments.mda} is not a sequence of useq: {error}") from error


@contextmanager
def _core(arguments: argparse.Namespace) -> Iterator[Any]:
    """The microscope, or the camera that plays a movie."""
    core = _microscope(arguments) if arguments.config.suffix.lower() == ".cfg" else _replay(arguments)
    try:
        if arguments.exposure_ms is not None:
            core.setExposure(arguments.exposure_ms)
        yield core
    finally:
        core.unloadAllDevices()


def _microscope(arguments: argparse.Namespace) -> Any:
    from pymmcore_plus import CMMCorePlus

    core = CMMCorePlus()
    if arguments.adapters is not None:
        core.setDeviceAdapterSearchPaths([str(arguments.adapters)])
    if not arguments.config.is_file():
        raise CommandRefused(f"there is no file {arguments.config}", UNREADABLE)
    try:
        core.loadSystemConfiguration(arguments.config)
    except (RuntimeError, OSError) as error:
        core.unloadAllDevices()
        raise CommandRefused(f"{arguments.config} cannot be loaded: {error}", UNREADABLE) from error
    if not core.getCameraDevice():
        raise CommandRefused(f"{arguments.config} has no camera; give it one as Core, Camera")
    return core


def _replay(arguments: argparse.Namespace) -> Any:
    from dimstream_client.files import open_images
    from dimstream_client.micromanager import replay_core

    with open_images(arguments.config) as stack:
        movie = stack.asarray()
    return replay_core(movie.reshape(-1, *movie.shape[-2:]), exposure_ms=arguments.exposure_ms or 10.0)


def _feedback(
    arguments: argparse.Namespace, core: Any, stack: ExitStack
) -> tuple[MdaDriver, FeedbackLoop | None]:
    from dimstream_client.feedback import Advisor, DecisionLog, FeedbackLoop, read_rules
    from dimstream_client.micromanager import MdaDriver

    driver = MdaDriver(core)
    if arguments.feedback is None:
        return driver, None
    found = read_rules(arguments.feedback)
    advisor = Advisor(found.rules, mode=arguments.feedback_mode, limits=found.limits)
    path = arguments.decisions or arguments.flags.with_name(
        arguments.flags.name.partition(".")[0] + ".decisions.jsonl"
    )
    return driver, FeedbackLoop(advisor, driver=driver, log=stack.enter_context(DecisionLog(path)))


def _stream(
    arguments: argparse.Namespace, core: Any, client: Any, loop: FeedbackLoop | None, lines: TextIO
) -> MdaStream:
    from dimstream_client.micromanager import MdaStream, PhotonScale, StreamSettings

    def on_result(result: Result, sent: SentFrame) -> None:
        line = {name: plain(value) for name, value in parts_of(result).items()}
        line.update(index=plain(sent.index), event=sent.event, t_acq=sent.t_acq)
        line.update(mean_photons=sent.mean_photons, settings=sent.settings)
        lines.write(json.dumps(line) + "\n")
        lines.flush()

    return MdaStream(
        core,
        client,
        settings=StreamSettings(
            model=arguments.model, save=arguments.save, split_every=arguments.split_every
        ),
        scale=PhotonScale(
            offset=arguments.offset,
            gain=arguments.gain,
            offset_property=arguments.offset_property,
            gain_property=arguments.gain_property,
        ),
        spool=arguments.spool,
        on_result=on_result,
        feedback=loop,
    )


@dataclass
class _Acquisition:
    """How the acquisition ended."""

    error: Exception | None = None
    is_interrupted: bool = False


def _acquire(
    arguments: argparse.Namespace, core: Any, stream: MdaStream, plan: Any, driver: MdaDriver
) -> _Acquisition:
    """Run the plan to its end; Ctrl-C ends it early, and what was taken is still answered."""
    from tqdm import tqdm

    stream.connect()
    feed = driver.feed = stream.feed(plan)
    raw = None if arguments.raw is None else str(arguments.raw)
    ended = _Acquisition()

    def acquire() -> None:
        try:
            core.mda.run(feed, output=raw)
        except Exception as error:  # of a device; told in the end
            ended.error = error

    thread = threading.Thread(target=acquire, name="acquisition")
    thread.start()
    with tqdm(unit="frame", disable=arguments.quiet) as bar:
        while thread.is_alive():
            try:
                thread.join(_LOOK_S)
            except KeyboardInterrupt:
                ended.is_interrupted = True
                core.mda.cancel()
            _show(bar, stream)
        _finish(bar, stream)
    return ended


def _finish(bar: Any, stream: MdaStream) -> None:
    """Wait until all results came, for as long as it takes; Ctrl-C leaves them in the spool."""
    stream.disconnect()
    while True:
        try:
            stream.wait(timeout_s=_LOOK_S)
        except Timeout:
            _show(bar, stream)
        else:
            break
    stream.close(timeout_s=_CLOSE_S)
    _show(bar, stream)


def _show(bar: Any, stream: MdaStream) -> None:
    bar.update(sum(one.answered for one in stream.reports) - bar.n)


def _report(arguments: argparse.Namespace, stream: MdaStream, ended: _Acquisition) -> int:
    """Print what became of the frames, and return the exit code."""
    for report in stream.reports:
        print(f"{report}; flags in {arguments.flags}")
        for problem in report.problems:
            say(problem, INCOMPLETE)
    if ended.error is not None:
        return say(f"the acquisition failed: {ended.error}", INCOMPLETE)
    if ended.is_interrupted:
        return say("interrupted; every frame that was taken is answered", INTERRUPTED)
    if not stream.reports or not all(report.is_complete for report in stream.reports):
        return say("frames have no result", INCOMPLETE)
    return DONE
