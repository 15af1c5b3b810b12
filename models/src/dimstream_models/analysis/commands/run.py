"""`dimstream-analyse run`: from a movie or a recording to tables, maps and a summary."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dimstream_models.analysis.commands import Commands

if TYPE_CHECKING:
    from dimstream_models.analysis.analysing import AnalysisSettings, GivenLabels
    from dimstream_models.analysis.segmentation import Segmenter


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "run", help="measure every frame of a movie of the ER, and the changes between frames"
    )
    parser.add_argument("movie", type=Path, help="folder of a recording, or a file of denoised frames")
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument(
        "--labels", type=Path, metavar="FILE", help="labels of every frame from another program"
    )
    labels.add_argument(
        "--segmenter",
        default="network",
        metavar="BUNDLE",
        help=(
            "how frames are labelled: a segmentation bundle (folder or zip), network (the shipped one) or "
            "classical (a rolling ball, a threshold and widths) (default: %(default)s)"
        ),
    )
    labels.add_argument("--classical", action="store_true", help="the same as --segmenter classical")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder: new, or that of a stopped run"
    )
    parser.add_argument(
        "--label-values",
        default="dimstream",
        metavar="VALUES",
        help=(
            "meaning of the values of --labels: tubule=1,sheet=2,sheet_tubule=3, or dimstream (the same), "
            "or ernet (default: %(default)s)"
        ),
    )
    parser.add_argument(
        "--sheet-tubules",
        choices=("sheet", "tubule"),
        default="sheet",
        help="how tubules on sheets are counted (default: %(default)s, as in the paper)",
    )
    parser.add_argument(
        "--flags", type=Path, metavar="FILE", help="file of flags: JSON lines from `dimstream stream`"
    )
    parser.add_argument(
        "--take",
        nargs="+",
        default=["ok"],
        choices=("ok", "unjudged", "suspect"),
        metavar="FLAG",
        help="frames with these flags are analysed: ok, unjudged, suspect (default: ok)",
    )
    parser.add_argument(
        "--pixel-size-nm", type=float, metavar="NM", help="used in place of the file's own value"
    )
    parser.add_argument("--interval-s", type=float, metavar="S", help="used in place of the file's own value")
    parser.add_argument(
        "--radius-px", type=float, help="radius of the rolling ball of --segmenter classical (default: 15)"
    )
    parser.add_argument(
        "--tubule-width-px",
        type=float,
        help="widest tubule of --segmenter classical; wider structures are sheets (default: 17)",
    )
    parser.add_argument(
        "--reach-um",
        type=float,
        default=0.2,
        help="how far a junction may move between two frames (default: %(default)s; 10 px without a scale)",
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
    parser.add_argument(
        "--workers", type=int, metavar="N", help="number of processes (default: one per core)"
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.analysis.analysing import analyse_movie
    from dimstream_models.analysis.effects import stored_effects
    from dimstream_models.analysis.movies import read_movie
    from dimstream_models.analysis.summary_text import summary_text

    movie = read_movie(
        arguments.movie,
        flags=arguments.flags,
        take=frozenset(arguments.take),
        pixel_size_nm=arguments.pixel_size_nm,
        frame_interval_s=arguments.interval_s,
    )
    source = _source(arguments, movie.pixel_um)
    summary = analyse_movie(
        movie, source, arguments.out, settings=_settings(arguments), workers=arguments.workers
    )
    effects = stored_effects(repr(source))
    same = repr(source) == effects.segmenter
    print(summary_text(movie, summary, effects=effects if same else None, dose_ph=arguments.dose))
    print(f"\nlabels: {_told(source)}")
    print(f"\nfigures of every frame: frames.csv, frames.parquet; all files are in {arguments.out}")


def _source(arguments: argparse.Namespace, pixel_um: float | None) -> Segmenter | GivenLabels:
    from dimstream_models.analysis.analysing import GivenLabels
    from dimstream_models.analysis.labels import LabelValues
    from dimstream_models.analysis.network_segmenter import named_segmenter

    if arguments.labels is not None:
        return GivenLabels(arguments.labels, LabelValues.parse(arguments.label_values))
    return named_segmenter(
        "classical" if arguments.classical else arguments.segmenter,
        pixel_nm=None if pixel_um is None else 1e3 * pixel_um,
        radius_px=arguments.radius_px,
        tubule_width_px=arguments.tubule_width_px,
    )


def _told(source: Segmenter | GivenLabels) -> str:
    """Return how labels were made, with a warning where the size of pixels is unknown."""
    from dimstream_models.analysis.network_segmenter import NetworkSegmenter

    if isinstance(source, NetworkSegmenter) and source.pixel_nm is None:
        return (
            f"{source}; the pixel size of the frames is not known, so the network's own pixel size was "
            "assumed: give it (--pixel-size-nm)"
        )
    return str(source)


def _settings(arguments: argparse.Namespace) -> AnalysisSettings:
    from dimstream_models.analysis.analysing import AnalysisSettings
    from dimstream_models.analysis.frame import FrameSettings

    return AnalysisSettings(
        frame=FrameSettings(sheet_tubules=arguments.sheet_tubules), reach_um=arguments.reach_um
    )
