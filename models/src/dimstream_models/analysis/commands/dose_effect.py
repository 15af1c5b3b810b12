"""`dimstream-analyse dose-effect`: how denoising and segmentation change every figure, on simulations."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.analysis.commands import Commands
from dimstream_models.shipped import find_bundle


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "dose-effect",
        help="measure bias and spread of every figure by dose, on simulated scenes with exact labels",
    )
    parser.add_argument("--bundle", type=find_bundle, help="bundle that denoises (default: the shipped one)")
    parser.add_argument(
        "--segmenter",
        default="classical",
        metavar="BUNDLE",
        help="a segmentation bundle, network (the shipped one) or classical (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder for the table and a picture"
    )
    parser.add_argument("--scenes", type=int, default=24, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=16, help="seed of scenes and photons (default: %(default)s)"
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.analysis.denoising_effect import measure_effects
    from dimstream_models.analysis.effect_report import draw_effects, effects_table
    from dimstream_models.analysis.effects import STORED, STORED_NETWORK
    from dimstream_models.analysis.network_segmenter import CLASSICAL, named_segmenter
    from dimstream_models.bundle import read_bundle
    from dimstream_models.shipped import shipped_bundle
    from dimstream_models.training.evaluation.restoring import restorer
    from dimstream_models.training.simulation.er_scenes import PIXEL_SIZE_NM
    from dimstream_models.whole_files import write_whole

    bundle = read_bundle(arguments.bundle or shipped_bundle())
    effects = measure_effects(
        restorer(bundle),
        named_segmenter(arguments.segmenter, pixel_nm=PIXEL_SIZE_NM),
        model=f"{bundle.id} {bundle.sha256[:12]}",
        scenes=arguments.scenes,
        seed=arguments.seed,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    stored = STORED if arguments.segmenter == CLASSICAL else STORED_NETWORK
    write_whole(arguments.out / stored, (effects.model_dump_json(indent=1) + "\n").encode())
    write_whole(arguments.out / "dose-effect.png", draw_effects(effects))
    print(effects_table(effects))
    print(f"\n{stored} and dose-effect.png are in {arguments.out}")
