"""`dimstream-train export`: from a finished run to a calibrated bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("export", help="from a finished run to a calibrated bundle that serves")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle, replaced")
    parser.add_argument("--documentation", type=Path, required=True, help="its README, with {figures}")
    parser.add_argument("--quality", type=Path, action="append", default=[], help="JSON of `compare`")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.export.bundling import make_bundle, read_quality
    from dimstream_models.training.settings import read_recipe

    bundle = make_bundle(
        read_recipe(arguments.run / "recipe.yaml"),
        arguments.run,
        arguments.out,
        quality=read_quality(arguments.quality),
        documentation=arguments.documentation.read_text(),
        command=f"dimstream-train export {arguments.run.name}",
    )
    print(f"{bundle.id} {bundle.sha256[:12]} in {arguments.out}")
