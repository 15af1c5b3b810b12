"""`dimstream-train calibrate`: determines scale, offset and thresholds of a bundle again."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.training.commands import Commands, print_warnings


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "calibrate",
        help="calibrate a bundle: scale and offset from training pairs, thresholds from signal "
        "and dark movies",
    )
    parser.add_argument("bundle", type=Path, help="bundle: folder or zip")
    parser.add_argument(
        "--pairs", type=Path, help="training pairs: a prepared folder, low/ and high/, or a CSV list"
    )
    parser.add_argument(
        "--rescaling",
        choices=("least_squares", "clipped_quantiles"),
        default="least_squares",
        help="fit through all pixels (default), or through pixels clipped to their quantiles (the paper)",
    )
    parser.add_argument(
        "--signal", type=Path, nargs="+", default=[], metavar="MOVIE", help="recorded movies of a sample"
    )
    parser.add_argument(
        "--dark", type=Path, nargs="+", default=[], metavar="MOVIE", help="recorded movies without a sample"
    )
    parser.add_argument(
        "--simulated", action="store_true", help="thresholds from simulated movies of the bundle's own recipe"
    )
    parser.add_argument(
        "--false-alarm-rate",
        type=float,
        default=0.005,
        help="share of signal frames that may be suspect (default: 0.005)",
    )
    parser.add_argument("--signal-min", type=float, help="least 10x10 window sum of signal, counts")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse a bundle that would have warnings",
    )
    parser.add_argument(
        "--precision",
        choices=("bf16", "fp16"),
        help=(
            "calibrate thresholds for predictions in this precision of openvino:cpu; those for float32 are "
            "kept"
        ),
    )
    parser.add_argument("--out", type=Path, help="new bundle: folder or zip (default: replaces the bundle)")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.precision is not None:
        _run_precision(arguments)
        return
    from dimstream_models.training.calibration.movies import Movies
    from dimstream_models.training.export.recalibrating import Wanted, recalibrate

    wanted = Wanted(
        pairs=arguments.pairs,
        method=arguments.rescaling,
        movies=Movies(arguments.signal, arguments.dark),
        simulated=arguments.simulated,
        false_alarm_rate=arguments.false_alarm_rate,
        signal_min=arguments.signal_min,
        command=f"dimstream-train calibrate {arguments.bundle.name}",
        strict=arguments.strict,
    )
    target = arguments.out or arguments.bundle
    bundle = recalibrate(arguments.bundle, target, wanted)
    limits = bundle.thresholds
    print(f"{bundle.id} {bundle.sha256[:12]} in {target}")
    print(f"denoised counts: {bundle.gain or 1:g} times the prediction {bundle.offset or 0:+g}")
    judged = "no SSIM threshold" if limits.ssim is None else f"suspect below an SSIM of {limits.ssim:g}"
    if limits.structure_score is not None:
        judged += f", a structure score of {limits.structure_score:g}"
    if limits.split is not None:
        judged += f", an SSIM of split photons of {limits.split:g}"
    if limits.correlation is not None:
        judged += f", a correlation of {limits.correlation:g}"
    sums = f"background up to {limits.background_max:g}, signal above {limits.signal_min:g}"
    print(f"{judged}; window sums: {sums}")
    print_warnings(target)


def _run_precision(arguments: argparse.Namespace) -> None:
    from dimstream_models.precisions import LOWER
    from dimstream_models.training.calibration.movies import Movies
    from dimstream_models.training.errors import CannotCalibrate
    from dimstream_models.training.export.precision_calibrating import WantedPrecision, calibrate_precision

    if arguments.pairs or arguments.signal_min is not None or arguments.strict:
        raise CannotCalibrate(
            "expected only movies with --precision, got --pairs, --signal-min or --strict: leave these out, "
            "because scale, offset and window sums hold in every precision"
        )
    wanted = WantedPrecision(
        precision=LOWER[arguments.precision],
        movies=Movies(arguments.signal, arguments.dark),
        simulated=arguments.simulated,
        false_alarm_rate=arguments.false_alarm_rate,
        command=f"dimstream-train calibrate {arguments.bundle.name} --precision {arguments.precision}",
    )
    target = arguments.out or arguments.bundle
    bundle = calibrate_precision(arguments.bundle, target, wanted)
    assert bundle.config is not None
    record = bundle.config.precisions[wanted.precision]
    print(f"{bundle.id} {bundle.sha256[:12]} in {target}, {wanted.precision} on {record.processor}")
    print(f"suspect below an SSIM of {record.thresholds.ssim:g}")
    print(f"differs by at most {record.signal.largest:.2g} of the largest prediction")
    print(f"in empty fields by {record.dark.largest:.2g} of their standard deviation")
