"""`dimstream-train import-ernet`: makes a bundle from ERnet v2's published weights, in the user's own
clone."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "import-ernet", help="make a bundle from ERnet v2's published weights, with your own clone of it"
    )
    parser.add_argument("clone", type=Path, help="folder of your clone of ERnet v2 (GPL-3)")
    parser.add_argument("--weights", type=Path, required=True, help="its released checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle; it is replaced")
    parser.add_argument(
        "--pixel-size-nm",
        type=float,
        required=True,
        metavar="NM",
        help="pixel size to which frames are resampled first: that of the images for which ERnet works",
    )
    parser.add_argument(
        "--python",
        default=sys.executable,
        help="Python with torch and ERnet's requirements (default: this one)",
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.bundle.writing import check_target
    from dimstream_models.training.segmentation.ernet import Clone, import_ernet

    check_target(arguments.out, replace=True)
    clone = Clone(folder=arguments.clone, weights=arguments.weights, python=arguments.python)
    command = shlex.join(["dimstream-train", *sys.argv[1:]])
    bundle = import_ernet(clone, arguments.out, pixel_nm=arguments.pixel_size_nm, command=command)
    print(f"{bundle.id} {bundle.sha256[:12]} in {arguments.out}")
    print(f"to use it: dimstream-analyse run MOVIE --segmenter {arguments.out} --out FOLDER")
