"""`dimstream-analyse video`: raw and denoised frames side by side as MP4, with time, flags and scale bar."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.analysis.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("video", help="show raw and denoised frames side by side as MP4")
    parser.add_argument("movie", type=Path, help="folder of a recording, or a file of denoised frames")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="NAME.mp4")
    parser.add_argument(
        "--raw", type=Path, metavar="FILE", help="the raw frames (default: those of the recording)"
    )
    parser.add_argument(
        "--cell",
        type=Path,
        metavar="FOLDER",
        help="folder of the movie's analysis; its labels and nodes are shown too",
    )
    parser.add_argument(
        "--flags", type=Path, metavar="FILE", help="file of flags: JSON lines from `dimstream stream`"
    )
    parser.add_argument(
        "--pixel-size-nm", type=float, metavar="NM", help="used in place of the file's own value"
    )
    parser.add_argument("--interval-s", type=float, metavar="S", help="used in place of the file's own value")
    parser.add_argument(
        "--fps", type=float, default=15.0, metavar="N", help="frames per second (default: %(default)g)"
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="show every N-th frame (default: %(default)s)"
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.analysis.movies import read_movie
    from dimstream_models.analysis.reports.cell import read_cell
    from dimstream_models.analysis.video.sources import RAW
    from dimstream_models.analysis.video.writing import write_video

    movie = read_movie(
        arguments.movie,
        flags=arguments.flags,
        pixel_size_nm=arguments.pixel_size_nm,
        frame_interval_s=arguments.interval_s,
    )
    raw = arguments.raw
    if raw is None and arguments.movie.is_dir():
        raw = arguments.movie / RAW
    cell = None if arguments.cell is None else read_cell(arguments.cell, movie=movie.path)
    written = write_video(
        movie, arguments.out, raw=raw, cell=cell, frames_per_s=arguments.fps, every=arguments.every
    )
    contrasts = ", ".join(
        f"{kind} {one.black:.4g} to {one.white:.4g}" for kind, one in written.contrasts.items()
    )
    size = "x".join(map(str, written.size))
    print(f"{arguments.out}: {written.frames} frames of {size}; values from black to white: {contrasts}")
