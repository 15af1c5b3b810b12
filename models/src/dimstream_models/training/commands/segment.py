"""`dimstream-train segment`: fits a small network that classifies the pixels of the ER, and makes a
bundle."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from dimstream_models.shipped import find_bundle
from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "segment", help="fit a network that distinguishes background, tubule and sheet, on simulated frames"
    )
    parser.add_argument(
        "--run", type=Path, required=True, help="folder of the fit; a stopped fit is continued"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle; it is replaced")
    parser.add_argument(
        "--documentation", type=Path, required=True, help="model card: Markdown with a section Validation"
    )
    parser.add_argument(
        "--denoiser", type=find_bundle, help="bundle that denoises frames (default: the shipped one)"
    )
    parser.add_argument(
        "--scenes", type=int, default=800, help="simulated scenes, three frames each (default: %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=5600, help="steps of the fit (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument(
        "--float32",
        action="store_true",
        help="fit in float32: faster on a processor without bfloat16, slower by half or more on one with it",
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.bundle.writing import check_target
    from dimstream_models.shipped import shipped_bundle
    from dimstream_models.training.segmentation.exporting import (
        Described,
        validation_figures,
        write_segmenter,
    )
    from dimstream_models.training.segmentation.fitting import Effort, fit_segmenter

    check_target(arguments.out, replace=True)
    documentation = arguments.documentation.read_text(encoding="utf-8")
    denoiser = arguments.denoiser or shipped_bundle()
    effort = Effort(
        seed=arguments.seed,
        scenes=arguments.scenes,
        steps=arguments.steps,
        bfloat16=not arguments.float32,
    )
    try:
        network, validation = fit_segmenter(effort, denoiser, arguments.run)
    except KeyboardInterrupt:
        print(f"give the same command to continue {arguments.run}")
        raise
    described = Described(
        effort=effort,
        documentation=documentation,
        command=shlex.join(["dimstream-train", *sys.argv[1:]]),
        denoiser=denoiser,
        quality=validation_figures(network, validation),
    )
    bundle = write_segmenter(arguments.out, network, described, arguments.run)
    print(f"{bundle.id} {bundle.sha256[:12]} in {arguments.out}, {len(bundle.onnx) / 1e6:.2f} MB\n")
    for name, value in described.quality.items():
        print(f"{name:28} {value:.3f}")
