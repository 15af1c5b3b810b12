"""`dimstream-analyse report`: the paper's figure 3 of one or several analysed cells."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.analysis.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "report", help="make the paper's figure 3 as a web page, PNG and PDF, from folders of finished runs"
    )
    parser.add_argument("cells", type=Path, nargs="+", metavar="FOLDER", help="folder of an analysed cell")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder for the page and pictures"
    )
    parser.add_argument(
        "--movie", type=Path, metavar="FILE", help="the denoised movie of the cell, if it was moved"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--frames",
        type=int,
        nargs="+",
        default=(),
        metavar="N",
        help="numbers of the frames to show, from 0 on (default: four frames)",
    )
    shown.add_argument(
        "--times-min",
        type=float,
        nargs="+",
        default=(),
        metavar="MIN",
        help="show the frames nearest to these times, minutes from the start",
    )
    parser.add_argument(
        "--dose",
        type=float,
        default=1.0,
        metavar="PH",
        help=(
            "photons per pixel on a tubule before denoising; the known error at this dose is printed "
            "(default: %(default)s)"
        ),
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.analysis.errors import InvalidResults
    from dimstream_models.analysis.reports.cell import read_cell
    from dimstream_models.analysis.reports.writing import write_report

    if arguments.movie is not None and len(arguments.cells) > 1:
        raise InvalidResults("expected --movie with one cell, got several: make one report per cell")
    cells = [read_cell(folder, movie=arguments.movie) for folder in arguments.cells]
    written = write_report(
        cells,
        arguments.out,
        dose_ph=arguments.dose,
        frames=arguments.frames,
        times_min=arguments.times_min,
    )
    print(f"open {written[0]}; pictures: {', '.join(path.name for path in written[1:])}")
