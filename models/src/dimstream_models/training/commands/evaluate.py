"""`dimstream-train evaluate`: all metrics of a bundle, on pairs that were not used for any choice."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from dimstream_models.shipped import find_bundle
from dimstream_models.training.commands import Commands

if TYPE_CHECKING:
    from dimstream_models.training.metrics.lpips import Lpips


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate", help="calculate all metrics of a bundle, on pairs that were not used for any choice"
    )
    parser.add_argument("bundle", type=find_bundle)
    parser.add_argument("pairs", type=Path, help="prepared folder, folder with low/ and high/, or CSV list")
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT", help="folder for the report")
    parser.add_argument(
        "--role",
        choices=("training", "validation", "test"),
        default="test",
        help="role of the fields of a prepared folder",
    )
    parser.add_argument("--again", type=Path, metavar="PAIRS", help="a second recording of the same fields")
    parser.add_argument(
        "--pixel-size-nm", type=_positive, metavar="NM", help="pixel size (default: as the pairs state it)"
    )
    parser.add_argument(
        "--data-range", type=_positive, metavar="COUNTS", help="data range (default: each truth's own)"
    )
    parser.add_argument(
        "--background", type=float, default=20.0, help="background of the rolling FRC, of 255 (20)"
    )
    parser.add_argument("--skip", type=int, default=4, metavar="PX", help="skip of the rolling FRC, px (4)")
    parser.add_argument("--line", type=_line, metavar="Y0,X0,Y1,X1", help="width of the profiles, px")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of split photons and of the limit's noise (0)"
    )
    lpips = parser.add_argument_group("LPIPS", "calculated if its weights are named; they are not shipped")
    lpips.add_argument("--lpips-trunk", type=Path, metavar="PTH", help="torchvision's VGG16")
    lpips.add_argument("--lpips-trunk-sha256", metavar="HEX")
    lpips.add_argument("--lpips-heads", type=Path, metavar="PTH", help="file of the five linear heads")
    lpips.add_argument(
        "--lpips-heads-sha256", metavar="HEX", help="their hash (default: that of lpips 0.1.4)"
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.bundle import read_bundle
    from dimstream_models.training.evaluation.evaluate import evaluate
    from dimstream_models.training.evaluation.scoring import ScoringSettings
    from dimstream_models.training.evaluation.writing import REPORT, make_folder, write_report

    settings = ScoringSettings(
        background=arguments.background,
        skip=arguments.skip,
        data_range=arguments.data_range,
        pixel_size_nm=arguments.pixel_size_nm,
        line=arguments.line,
        seed=arguments.seed,
    )
    bundle, lpips = read_bundle(arguments.bundle), _lpips(arguments)
    make_folder(arguments.out)
    evaluation = evaluate(
        bundle,
        arguments.pairs,
        role=arguments.role,
        again=arguments.again,
        settings=settings,
        lpips=lpips,
    )
    write_report(evaluation, arguments.out)
    print(evaluation.sentence)
    print(arguments.out / REPORT)


def _lpips(arguments: argparse.Namespace) -> Lpips | None:
    from dimstream_models.training.errors import CannotEvaluate
    from dimstream_models.training.metrics.lpips import HEADS_SHA256, Lpips, WeightFile

    trunk, trunk_sha256 = arguments.lpips_trunk, arguments.lpips_trunk_sha256
    heads, heads_sha256 = arguments.lpips_heads, arguments.lpips_heads_sha256
    if all(each is None for each in (trunk, trunk_sha256, heads, heads_sha256)):
        return None
    if trunk is None or trunk_sha256 is None or heads is None:
        raise CannotEvaluate(
            "LPIPS needs its weights and their hash: give --lpips-trunk, --lpips-trunk-sha256 and "
            "--lpips-heads"
        )
    return Lpips(WeightFile(trunk, trunk_sha256), WeightFile(heads, heads_sha256 or HEADS_SHA256))


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _line(text: str) -> tuple[tuple[float, float], tuple[float, float]]:
    try:
        y0, x0, y1, x1 = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected Y0,X0,Y1,X1 such as 10,20,10,80, got {text}") from error
    return (y0, x0), (y1, x1)
