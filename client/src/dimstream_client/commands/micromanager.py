"""``dimstream micromanager``: run an acquisition of Micro-Manager and send its frames."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

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
    CommandRefused,
    say,
)
from dimstream_client.commands.extras import check_installed
from dimstream_client.commands.micromanager_setup import open_core, plan_of
from dimstream_client.credentials import client_of
from dimstream_client.errors import ArgumentError, Timeout
from dimstream_client.messages import Result

if TYPE_CHECKING:
    from dimstream_client.feedback import FeedbackLoop
    from dimstream_client.micromanager import MdaDriver, MdaStream, RunReport, SentFrame
    from dimstream_client.micromanager.sent_stream import OnSentResult

_DESCRIPTION: Final = """\
Run an acquisition of Micro-Manager and send every frame to a dimstream server while it runs. CONFIG is
Micro-Manager's configuration file, or a movie (TIFF, NPY ...) that is played instead of a camera.

The acquisition never waits for the server. With --out, denoised frames are written to
FOLDER/run-0001.ome.tif, and a JSON line for each to FOLDER/run-0001.flags.jsonl. When the frame size
changes during the run, a new image begins. Without --out, only the lines are written, to --flags. The
decisions of --feedback are written to --decisions. With --save, the server records raw and denoised frames.

After a run was killed, --resume completes the frames that it had acquired. It acquires nothing."""
_EXAMPLES: Final = """\
examples:
  dimstream micromanager scope.cfg --mda plan.yaml --out run --server tcp://127.0.0.1:5570
  dimstream micromanager --resume --out run --server tcp://127.0.0.1:5570
  dimstream micromanager scope.cfg --frames 500 --interval-s 2 --server tcp://127.0.0.1:5570
  dimstream micromanager movie.tif --frames 100 --feedback rules.toml --server tcp://127.0.0.1:5570
  dimstream micromanager scope.cfg --mda plan.yaml --feedback rules.toml --feedback-mode act \\
      --server tcp://127.0.0.1:5570"""
_FLAGS: Final = "micromanager.flags.jsonl"
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
    command.add_argument("config", type=some_path, nargs="?", metavar="CONFIG", help="NAME.cfg, or a movie")
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
    plan = command.add_mutually_exclusive_group()
    plan.add_argument("--mda", type=some_path, metavar="PLAN", help="sequence of useq, .yaml or .json")
    plan.add_argument("--frames", type=count, metavar="N", help="number of time points of one plane")
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
        "--raw", type=some_path, metavar="NAME.ome.zarr", help="have pymmcore-plus write the raw frames there"
    )


def _add_stream(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--out", type=some_path, metavar="FOLDER", help="write the denoised frames there, as OME-TIFF"
    )
    command.add_argument(
        "--spool", type=some_path, metavar="FOLDER",
        help="keep frames there until their results came (default: OUT/spool; without --out, in memory)",
    )  # fmt: skip
    command.add_argument(
        "--resume", action="store_true",
        help="complete an interrupted run from --out and --spool; acquire nothing",
    )  # fmt: skip
    command.add_argument(
        "--flags", type=some_path, metavar="FILE",
        help=f"without --out: where a line for each result goes; must not exist (default: {_FLAGS})",
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
        help="where a line for each decision is added (default: in --out, or beside --flags)",
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
    check_installed("pymmcore_plus", "tqdm", "yaml", extras="tiff,micromanager")
    _check(arguments)
    try:
        return _resume(arguments) if arguments.resume else _run(arguments)
    except ArgumentError as error:
        raise CommandRefused(error.detail) from error


def _check(arguments: argparse.Namespace) -> None:
    """Refuse options that exclude each other, and set those that follow from others."""
    if arguments.out is not None:
        if arguments.flags is not None:
            raise CommandRefused("with --out, each image has its flags next to it; leave --flags out")
        check_installed("tifffile", extras="tiff,micromanager")
        arguments.spool = arguments.spool or arguments.out / "spool"
    arguments.flags = arguments.flags or Path(_FLAGS)
    if arguments.resume:
        if arguments.out is None:
            raise CommandRefused("--resume needs --out FOLDER, and --spool where the run had one")
        return
    if arguments.config is None:
        raise CommandRefused("name the configuration of the microscope, NAME.cfg, or a movie")
    if arguments.mda is None and arguments.frames is None:
        raise CommandRefused("say what to acquire: --mda PLAN, or --frames N")
    if arguments.out is None and arguments.flags.exists():
        raise CommandRefused(f"{arguments.flags} already exists; name another with --flags")
    if arguments.feedback_mode != "advise" and arguments.feedback is None:
        raise CommandRefused(f"--feedback-mode {arguments.feedback_mode} needs rules: --feedback RULES")


def _run(arguments: argparse.Namespace) -> int:
    plan = plan_of(arguments)
    with ExitStack() as stack:
        core = stack.enter_context(open_core(arguments))
        on_result = _results(arguments, stack, plan)
        driver, loop = _feedback(arguments, core, stack)
        client = stack.enter_context(client_of(arguments, outage_s=arguments.outage))
        client.ping()  # before anything is acquired
        stream = _stream(arguments, core, client, loop, on_result)
        return _report(arguments, stream, _acquire(arguments, core, stream, plan, driver))


def _results(arguments: argparse.Namespace, stack: ExitStack, plan: Any) -> OnSentResult:
    """Return the writer of the results: a folder of images, or a file of lines."""
    from dimstream_client.micromanager.result_folder import ResultFolder, line_of

    if arguments.out is not None:
        step_um = getattr(plan.z_plan, "step", None)
        folder = ResultFolder(arguments.out, spool=arguments.spool, z_step_um=step_um)
        stack.enter_context(folder)
        if folder.is_unfinished:
            raise CommandRefused(
                f"{arguments.out} holds a run that was interrupted: finish it by --resume, or name another"
            )
        return folder.take
    lines = stack.enter_context(arguments.flags.open("x", encoding="utf-8", newline="\n"))

    def write(result: Result, sent: SentFrame) -> None:
        lines.write(json.dumps(line_of(result, sent)) + "\n")
        lines.flush()

    return write


def _resume(arguments: argparse.Namespace) -> int:
    """Complete an interrupted run; acquire nothing."""
    from tqdm import tqdm

    from dimstream_client.micromanager import ResultFolder

    if not arguments.out.is_dir():
        raise CommandRefused(f"there is no folder {arguments.out}, so there is nothing to resume", UNREADABLE)
    with ExitStack() as stack:
        folder = stack.enter_context(ResultFolder(arguments.out, spool=arguments.spool))
        if not folder.is_unfinished:
            print(f"{arguments.out}: there is nothing to resume")
            return DONE
        client = stack.enter_context(client_of(arguments, outage_s=arguments.outage))
        client.ping()
        bar = stack.enter_context(tqdm(unit="frame", disable=arguments.quiet))
        reports = folder.resume(client, on_result=lambda _: bar.update())
    return _tell(arguments, reports)


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
    beside = arguments.flags if arguments.out is None else arguments.out / _FLAGS
    path = arguments.decisions or beside.with_name(beside.name.partition(".")[0] + ".decisions.jsonl")
    return driver, FeedbackLoop(advisor, driver=driver, log=stack.enter_context(DecisionLog(path)))


def _stream(
    arguments: argparse.Namespace,
    core: Any,
    client: Any,
    loop: FeedbackLoop | None,
    on_result: OnSentResult,
) -> MdaStream:
    from dimstream_client.micromanager import MdaStream, PhotonScale, StreamSettings

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
    """Run the plan to its end. Ctrl-C ends it early; frames that were taken are still answered."""
    from tqdm import tqdm

    stream.connect()
    feed = driver.feed = stream.feed(plan)
    raw = None if arguments.raw is None else str(arguments.raw)
    ended = _Acquisition()

    def acquire() -> None:
        try:
            core.mda.run(feed, output=raw)
        except Exception as error:  # of a device; reported at the end
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
    """Wait without limit until all results came; Ctrl-C leaves the frames in the spool."""
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
    """Print the totals of the frames, and return the exit code."""
    code = _tell(arguments, stream.reports)
    if ended.error is not None:
        return say(f"the acquisition failed: {ended.error}", INCOMPLETE)
    if ended.is_interrupted:
        return say("interrupted; every frame that was taken has been answered", INTERRUPTED)
    return code if stream.reports else say("frames have no result", INCOMPLETE)


def _tell(arguments: argparse.Namespace, reports: Sequence[RunReport]) -> int:
    where = f"flags in {arguments.flags}" if arguments.out is None else f"images in {arguments.out}"
    for report in reports:
        print(f"{report}; {where}")
        for problem in report.problems:
            say(problem, INCOMPLETE)
    return DONE if all(one.is_complete for one in reports) else say("frames have no result", INCOMPLETE)
