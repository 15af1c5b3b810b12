"""`dimstream-train export`: makes a calibrated bundle from a finished run."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.training.commands import Commands, print_warnings


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("export", help="make a calibrated bundle from a finished run")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle; it is replaced")
    parser.add_argument(
        "--signal", type=Path, nargs="+", default=[], metavar="MOVIE", help="recorded movies of a sample"
    )
    parser.add_argument(
        "--dark", type=Path, nargs="+", default=[], metavar="MOVIE", help="recorded movies without a sample"
    )
    parser.add_argument(
        "--documentation", type=Path, help="README with {figures} (default: a model card is written)"
    )
    parser.add_argument("--sample", type=Path, metavar="MOVIE", help="TIFF that is added to the bundle")
    parser.add_argument(
        "--quality", type=Path, action="append", default=[], help="JSON file of figures from `compare`"
    )
    parser.add_argument(
        "--float16", action="store_true", help="also write a second bundle for GPUs, BUNDLE-float16"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse a bundle that would have warnings",
    )
    parser.add_argument("--device", default="cpu", help="torch device to calibrate on (default: cpu)")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.calibration.movies import Movies
    from dimstream_models.training.export.bundling import ExportOptions, export_run
    from dimstream_models.training.export.card import read_template
    from dimstream_models.training.export.measured_quality import read_quality

    documentation, out = arguments.documentation, arguments.out
    options = ExportOptions(
        movies=Movies(arguments.signal, arguments.dark),
        documentation=None if documentation is None else read_template(documentation),
        sample=arguments.sample,
        quality=read_quality(arguments.quality),
        half=out.with_name(f"{out.name}-float16") if arguments.float16 else None,
        device=arguments.device,
        strict=arguments.strict,
    )
    command = f"dimstream-train export {arguments.run.name}"
    bundle = export_run(arguments.run, out, command=command, options=options)
    print(f"{bundle.id} {bundle.sha256[:12]} in {out}")
    print_warnings(out)
