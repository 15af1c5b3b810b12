"""`dimstream-train compare`: compare a bundle with the best-tuned classical filters."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dimstream_models.shipped import find_bundle
from dimstream_models.training.commands import Commands

if TYPE_CHECKING:
    from dimstream_models.training.evaluation.compare import Comparison
    from dimstream_models.training.evaluation.references import Absent


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("compare", help="compare a bundle with the best-tuned classical filters")
    parser.add_argument("bundle", type=find_bundle)
    parser.add_argument("--name", required=True, help="prefix of the figures")
    parser.add_argument("--noisy", type=Path, required=True, help="image or stack of counts")
    parser.add_argument(
        "--truth",
        type=Path,
        help="as many images of high dose; without it, the movie's own photons and frames are the truth",
    )
    parser.add_argument(
        "--truth-factor", type=float, default=1.0, help="factor from the truth to high-dose counts"
    )
    parser.add_argument(
        "--match-pixel-size-nm",
        type=float,
        metavar="NM",
        help=(
            "pixel size of the images: photons are moved to finer pixels that the bundle knows, and results "
            "are binned again, as the server does for match_pixel_size"
        ),
    )
    parser.add_argument(
        "--raw-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help=(
            "mix this share of the raw frame into the restored one; an improvement shows that the training "
            "scenes lack something (0)"
        ),
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the photons that are set aside (0)")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.bundle import read_bundle
    from dimstream_models.training.evaluation.compare import compare
    from dimstream_models.training.evaluation.references import Absent, of_movie, of_truth
    from dimstream_models.training.evaluation.restoring import (
        has_own_scale,
        on_known_pixels,
        restorer,
        with_raw_share,
    )
    from dimstream_models.training.pairs.images import ImageFile, read_planes

    bundle = read_bundle(arguments.bundle)
    noisy = read_planes(ImageFile(arguments.noisy)).values  # (N, H, W)
    if arguments.truth is None:
        yardsticks = of_movie(noisy, seed=arguments.seed)
    else:
        truth = read_planes(ImageFile(arguments.truth), below_zero=True).values * arguments.truth_factor
        yardsticks = [of_truth(noisy, truth)]
    restore = restorer(bundle)
    if arguments.match_pixel_size_nm is not None:
        restore = on_known_pixels(restore, bundle, arguments.match_pixel_size_nm)
    if arguments.raw_share:
        restore = with_raw_share(restore, arguments.raw_share)
    same_scale = arguments.truth is not None and has_own_scale(bundle)
    absent = [each for each in yardsticks if isinstance(each, Absent)]
    compared = [
        compare(restore, each, same_scale=same_scale) for each in yardsticks if not isinstance(each, Absent)
    ]
    figures: dict[str, float] = {}
    for each in compared:
        own = "" if arguments.truth is not None else f"_{each.yardstick.name}"
        figures |= each.figures(f"{arguments.name}{own}")
    message = _sentence(compared[0], "frame" if arguments.truth is None else "image")
    written = {
        "sentence": message,
        "figures": figures,
        "comparison": {each.yardstick.name: each.as_dict() for each in compared},
        "absent": {each.name: each.reason for each in absent},
    }
    arguments.out.write_text(json.dumps(written, indent=2) + "\n")
    print(message)
    for line in _lines(compared, absent):
        print(line)


def _sentence(first: Comparison, what: str) -> str:
    message = first.sentence(what)
    return message if first.yardstick.name == "truth" else f"Judged by {first.yardstick.title}: {message}"


def _lines(compared: Sequence[Comparison], absent: Sequence[Absent]) -> list[str]:
    """Return the details: each yardstick with its scores, its limit and what it favours."""
    lines = []
    for each in compared:
        floor = each.yardstick.floor_db
        ends = (
            ""
            if floor is None
            else f"; no restoration can exceed {floor:.1f} (because of the truth's own noise)"
        )
        lines += [
            "",
            f"By {each.yardstick.title}, PSNR in dB on a fitted scale: noisy {each.noisy.psnr_db:.2f}, model"
            f" {each.model.psnr_db:.2f}{ends}",
            *_filters(each),
            f"  Model: {each.over_noisy.than('the noisy image')};"
            f" {each.over_filter.than('the best filter')}.",
        ]
        if each.unfitted is not None:
            gain, offset = each.model.line
            lines.append(
                f"  Unfitted, in its own counts, the model has {each.unfitted.psnr_db:.2f}: its counts "
                f"times {gain:.3g}, {offset:+.3g}, are those of the truth. A difference of scale is not a "
                "loss of quality."
            )
        lines.append(f"  {each.yardstick.favours}.")
    return lines + [f"\nNot by {each.title}: {each.reason}." for each in absent]


def _filters(comparison: Comparison) -> list[str]:
    shown = sorted(comparison.filters.values(), key=lambda score: -score.psnr_db)
    text = "; ".join(f"{' / '.join(dict.fromkeys(score.tuned))} {score.psnr_db:.2f}" for score in shown)
    return [f"  Filters, tuned on {comparison.tuned_on}: {text}"]
