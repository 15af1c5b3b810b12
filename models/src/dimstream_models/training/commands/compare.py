"""`dimstream-train compare`: a bundle against the best-tuned classical filters."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("compare", help="a bundle against the best-tuned classical filters")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--name", required=True, help="prefix of the figures")
    parser.add_argument("--noisy", type=Path, required=True, help="image or stack of counts")
    parser.add_argument("--truth", type=Path, help="as many images; without it the mean of the other frames")
    parser.add_argument(
        "--truth-factor", type=float, default=1.0, help="truth times this is in high-dose counts"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.bundle import read_bundle
    from dimstream_models.training.evaluation.compare import compare, mean_of_the_others, noise_floor_db
    from dimstream_models.training.evaluation.restoring import restorer
    from dimstream_models.training.pairs.images import ImageFile, read_planes

    noisy = read_planes(ImageFile(arguments.noisy)).values.astype(float)  # (N, H, W)
    figures: dict[str, float] = {}
    if arguments.truth is None:
        truth = mean_of_the_others(noisy)
        figures[f"{arguments.name}_floor_db"] = round(noise_floor_db(noisy), 2)
    else:
        truth = read_planes(ImageFile(arguments.truth), below_zero=True).values * arguments.truth_factor
    restore = restorer(read_bundle(arguments.bundle))
    result = compare(restore, noisy, truth, same_scale=arguments.truth is not None)
    ours = result.own_scale or result.one_gain
    figures |= {
        f"{arguments.name}_psnr_db": round(ours.psnr_db, 2),
        f"{arguments.name}_ssim": round(ours.ssim, 4),
        f"{arguments.name}_margin_db": round(result.margin_db(), 2),
        f"{arguments.name}_margin_ssim": round(result.margin_ssim(), 4),
    }
    arguments.out.write_text(
        json.dumps({"figures": figures, "comparison": result.as_dict()}, indent=2) + "\n"
    )
    print(json.dumps(figures, indent=2))
