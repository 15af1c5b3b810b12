"""`dimstream-train stress`: what a bundle invents, loses, merges and dims, compared with a tuned Gaussian."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.shipped import find_bundle
from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "stress",
        help="measure bridges, gaps, pairs, rings, puncta and photometry, compared with a tuned "
        "Gaussian filter",
    )
    parser.add_argument("bundle", type=find_bundle)
    parser.add_argument("--out", type=Path, required=True, help="folder for the table and the picture")
    parser.add_argument(
        "--seed", type=int, default=13, help="seed of scenes and photons (default: %(default)s)"
    )
    parser.add_argument(
        "--pixel-size-nm", type=float, metavar="NM", help="pixel size (default: the bundle's, otherwise 20)"
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.bundle import read_bundle
    from dimstream_models.training.stress.stressing import stress

    bundle = read_bundle(arguments.bundle)
    found = stress(bundle, arguments.out, seed=arguments.seed, pixel_nm=arguments.pixel_size_nm)
    print(f"{bundle.id} {bundle.sha256[:12]}, pixels of {found.pixel_nm:g} nm, seed {arguments.seed}\n")
    print(found.text)
    print(f"\nstress.txt, stress.json, stress.csv and stress.png are in {arguments.out}")
