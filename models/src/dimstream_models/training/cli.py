"""The command `dimstream-train`: fit a recipe, make a bundle of it, compare a bundle with filters."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dimstream_models.bundle import BundleError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        from dimstream_models.training.errors import TrainingError

        try:
            return int(arguments.run_command(arguments) or 0)
        except (TrainingError, BundleError) as error:
            print(f"dimstream-train: {error}", file=sys.stderr)
            return 2
    except ModuleNotFoundError as error:
        print(
            f"dimstream-train: {error.name} is not installed: pip install 'dimstream-models[train]'",
            file=sys.stderr,
        )
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dimstream-train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fit = commands.add_parser("fit", help="train, or go on with a run that was stopped")
    _add_run(fit)
    fit.set_defaults(run_command=_fit)

    make = commands.add_parser("make", help="fit, calibrate and export: from a recipe to a bundle")
    _add_run(make)
    make.add_argument("--out", type=Path, required=True, help="folder of the bundle, replaced")
    make.add_argument("--documentation", type=Path, required=True, help="the bundle's README, with {figures}")
    make.add_argument("--quality", type=Path, action="append", default=[], help="JSON of `compare`")
    make.set_defaults(run_command=_make)

    compare = commands.add_parser("compare", help="a bundle against the best-tuned classical filters")
    compare.add_argument("bundle", type=Path)
    compare.add_argument("--name", required=True, help="prefix of the figures")
    compare.add_argument("--noisy", type=Path, required=True, help="TIFF stack of counts")
    compare.add_argument("--truth", type=Path, help="TIFF stack; without it the mean of the other frames")
    compare.add_argument(
        "--truth-factor", type=float, default=1.0, help="truth times this is in high-dose counts"
    )
    compare.add_argument("--out", type=Path, required=True, help="JSON")
    compare.set_defaults(run_command=_compare)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="YAML file of settings")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints and the loss curve")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")


def _fit(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.fit import fit
    from dimstream_models.training.settings import read_recipe

    fit(read_recipe(arguments.recipe), arguments.run, device=arguments.device)


def _make(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.bundling import make_bundle, read_quality
    from dimstream_models.training.settings import read_recipe

    _fit(arguments)
    bundle = make_bundle(
        read_recipe(arguments.recipe),
        arguments.run,
        arguments.out,
        quality=read_quality(arguments.quality),
        documentation=arguments.documentation.read_text(),
        command=f"dimstream-train make {arguments.recipe.name}",
    )
    print(f"{bundle.id} {bundle.sha256[:12]} in {arguments.out}")


def _compare(arguments: argparse.Namespace) -> None:
    import tifffile

    from dimstream_models.bundle import read_bundle
    from dimstream_models.training.compare import bundle_denoiser, compare, mean_of_the_others, noise_floor_db

    noisy = tifffile.imread(arguments.noisy).astype(float)
    figures: dict[str, float] = {}
    if arguments.truth is None:
        truth = mean_of_the_others(noisy)
        figures[f"{arguments.name}_floor_db"] = round(noise_floor_db(noisy), 2)
    else:
        truth = tifffile.imread(arguments.truth) * arguments.truth_factor
    denoise = bundle_denoiser(read_bundle(arguments.bundle))
    result = compare(denoise, noisy, truth, same_scale=arguments.truth is not None)
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
