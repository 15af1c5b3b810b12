"""`dimstream-analyse volume`: orthogonal views and surfaces of denoised z-stacks, as the paper's figure 4."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.analysis.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("volume", help="make slices and surfaces of z-stacks, without bad planes")
    parser.add_argument("stack", type=Path, help="file of denoised z-stacks")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder for pictures and surfaces"
    )
    planes = parser.add_mutually_exclusive_group()
    planes.add_argument(
        "--judged",
        type=Path,
        metavar="FILE",
        help="file that `dimstream view` wrote (default: NAME.volume.json)",
    )
    planes.add_argument(
        "--planes",
        type=int,
        nargs=2,
        metavar=("FIRST", "LAST"),
        help="first and last plane to keep, from 0 on",
    )
    parser.add_argument(
        "--times",
        type=int,
        nargs="+",
        default=(),
        metavar="T",
        help="time points to show, from 0 on (default: four)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=50.0,
        metavar="GREY",
        help="threshold of surfaces, in 255 grey levels (default: %(default)g, the paper's)",
    )
    parser.add_argument(
        "--resampling",
        type=int,
        default=2,
        metavar="N",
        help="first average blocks of N planes and pixels (default: %(default)s, the paper's)",
    )
    for name, of in (("plane", "xy"), ("row", "xz"), ("column", "yz")):
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"of the slice {of} (default: middle)")
    parser.add_argument("--channel", type=int, default=0, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--position", type=int, default=0, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--pixel-size-nm", type=float, metavar="NM", help="used in place of the file's own value"
    )
    parser.add_argument("--z-step-nm", type=float, metavar="NM", help="used in place of the file's own value")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.analysis.volumes.judged import Kept, read_judged
    from dimstream_models.analysis.volumes.stacks import name_of
    from dimstream_models.analysis.volumes.writing import VIEWS, VolumeSettings, write_volumes

    channel, position = arguments.channel, arguments.position
    if arguments.planes is not None:
        kept = Kept(*arguments.planes)
    else:
        judged = arguments.judged or arguments.stack.with_name(f"{name_of(arguments.stack)}.volume.json")
        kept = read_judged(judged, channel=channel, position=position)
    settings = VolumeSettings(
        channel,
        position,
        tuple(arguments.times),
        arguments.plane,
        arguments.row,
        arguments.column,
        arguments.threshold,
        arguments.resampling,
    )
    sizes = (None if nm is None else nm / 1e3 for nm in (arguments.pixel_size_nm, arguments.z_step_nm))
    pixel_um, z_step_um = sizes
    written = write_volumes(
        arguments.stack, arguments.out, kept, settings, pixel_size_um=pixel_um, z_step_um=z_step_um
    )
    print(f"{arguments.stack}: kept {kept.text()}; slices in {arguments.out / VIEWS}")
    for one in written:
        print(
            f"{arguments.out / one.name}.ply, .stl, .png: {one.triangles} triangles, {one.volume_um3:.4g} µm³"
            f" within {one.area_um2:.4g} µm²"
        )
