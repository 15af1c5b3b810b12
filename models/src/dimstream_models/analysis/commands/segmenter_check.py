"""`dimstream-analyse segmenter-check`: the accuracy of segmenters on simulated frames with exact labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.analysis.commands import Commands
from dimstream_models.shipped import find_bundle

SCORES = "segmenter_scores.json"


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "segmenter-check",
        help="measure the accuracy of segmenters on simulated frames with exact labels, by dose",
    )
    parser.add_argument(
        "--segmenter",
        default="network",
        metavar="BUNDLE",
        help=(
            "folder or zip, or network (the shipped one); it is compared with the classical one and a "
            "threshold (default: %(default)s)"
        ),
    )
    parser.add_argument("--bundle", type=find_bundle, help="bundle that denoises (default: the shipped one)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for the scores")
    parser.add_argument("--scenes", type=int, default=24, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=17, help="seed of scenes and photons (default: %(default)s)"
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    import json

    from dimstream_models.analysis.edge_limits import bounds_table
    from dimstream_models.analysis.network_segmenter import named_segmenter
    from dimstream_models.analysis.segmentation import ClassicalSegmenter
    from dimstream_models.analysis.segmenter_check import (
        OtsuSegmenter,
        check_edges,
        check_segmenters,
        scores_table,
    )
    from dimstream_models.bundle import read_bundle
    from dimstream_models.shipped import shipped_bundle
    from dimstream_models.training.evaluation.restoring import restorer
    from dimstream_models.training.simulation.er_scenes import PIXEL_SIZE_NM
    from dimstream_models.whole_files import write_whole

    segmenters = {
        "network": named_segmenter(arguments.segmenter, pixel_nm=PIXEL_SIZE_NM),
        "classical": ClassicalSegmenter(),
        "threshold": OtsuSegmenter(),
    }
    bundle = read_bundle(arguments.bundle or shipped_bundle())
    scores = check_segmenters(restorer(bundle), segmenters, scenes=arguments.scenes, seed=arguments.seed)
    bounds = check_edges(scenes=arguments.scenes, seed=arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    stated = {
        "denoiser": f"{bundle.id} {bundle.sha256[:12]}",
        "segmenters": {name: repr(each) for name, each in segmenters.items()},
        "seed": arguments.seed,
        "scores": [score.model_dump(mode="json") for score in scores],
        "edges": [each.model_dump(mode="json") for each in bounds],
    }
    write_whole(arguments.out / SCORES, (json.dumps(stated, indent=1) + "\n").encode())
    print(scores_table(scores))
    print(f"\n{bounds_table(bounds)}")
    print(f"\n{SCORES} is in {arguments.out}")
