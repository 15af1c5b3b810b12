"""``dimstream view``: draw denoised z-stacks, and crop them to planes that can be trusted.

`docs/volumes.md` explains what it shows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dimstream_client import credentials
from dimstream_client.commands.exit_codes import DONE, INCOMPLETE, UNREADABLE, CommandRefused, say
from dimstream_client.commands.extras import check_installed
from dimstream_client.errors import RecordError
from dimstream_client.header_checks import Refused
from dimstream_client.header_checks import thresholds as checked
from dimstream_client.quality import SHIPPED, Thresholds
from dimstream_client.volumes import views
from dimstream_client.volumes.crop_proposal import crop_line, rules
from dimstream_client.volumes.judging import VolumeReport, judge_volumes
from dimstream_client.volumes.plane_records import index_of, read_records

if TYPE_CHECKING:  # it needs the extra; the rest of the client works without it
    from dimstream_client.volumes.files import VolumeFile


_THRESHOLDS: Final = ("ssim", "structure_score", "split")
_FLAGS_ENDING: Final = ".flags.jsonl"


@dataclass(frozen=True)
class _Judged:
    """Result of the flags of the stack; `thresholds_from` is the source of the thresholds."""

    report: VolumeReport
    thresholds_from: str


def add(commands: Any) -> None:
    """Add the command to the subparsers of ``dimstream``."""
    view = commands.add_parser(
        "view",
        help="draw a denoised z-stack, and find the planes that can be trusted",
        description="Draw orthogonal slices (OUT.orthogonal.png) and the maximum projection "
        "(OUT.projection.png) of a denoised z-stack, and propose a crop from its flags "
        "(OUT.volume.json). All numbers count from 0.",
    )
    view.add_argument("source", type=Path, metavar="OUT.ome.tif")
    view.add_argument("--flags", type=Path, metavar="OUT.flags.jsonl", help="default: next to OUT.ome.tif")
    view.add_argument("--out-dir", type=Path, metavar="DIR", help="default: next to OUT.ome.tif")
    view.add_argument("--crop", type=Path, metavar="CROPPED.ome.tif", help="write the cropped stack")
    view.add_argument("--axes", metavar="TZYX", help="axes, instead of those in the file")
    times = view.add_mutually_exclusive_group()
    times.add_argument("--time", type=int, default=0, metavar="T", help="time point to draw (default: 0)")
    times.add_argument("--all-times", action="store_true", help="draw each time point, on one scale")
    for name in ("channel", "position"):
        view.add_argument(f"--{name}", type=int, default=0, metavar="N", help=f"{name} to draw (default: 0)")
    for name in ("plane", "row", "column"):
        view.add_argument(
            f"--{name}", type=int, metavar="N", help=f"{name} of the slice (default: the middle)"
        )
    view.add_argument("--aspect", type=float, metavar="R", help="z step / pixel size (default: the file's)")
    for name, of_what in zip(_THRESHOLDS, ("neighbouring planes", "the raw frame", "photon halves")):
        view.add_argument(
            f"--{name.replace('_', '-')}", type=float, metavar="S", help=f"threshold, of {of_what}"
        )
    view.add_argument(
        "--server", metavar="http://HOST:PORT", help="take the thresholds of the model on this server"
    )
    view.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="seconds to wait for an answer"
    )
    credentials.add_token(view)
    view.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code.

    Raises
    ------
    CommandRefused, DimstreamError, OSError
    """
    check_installed("tifffile", "imagecodecs", extras="tiff")
    try:
        return _view(arguments)
    except RecordError as error:
        return say(str(error), UNREADABLE)


def _view(arguments: argparse.Namespace) -> int:
    # Imported only here: the rest of the client works without the extra.
    from dimstream_client.files import open_images
    from dimstream_client.volumes.files import VolumeFile

    if arguments.crop and arguments.crop.exists() and arguments.crop.samefile(arguments.source):
        raise CommandRefused(f"{arguments.crop} would be overwritten while it is read; name another")
    with open_images(arguments.source, axes=arguments.axes) as stack:
        file = VolumeFile(stack)
        _check_places(arguments, file)
        judged = _judge(arguments, file)
        written = list(_draw(arguments, file, judged))
        if judged is not None:
            written.append(_write_report(arguments, judged))
        if judged is not None and arguments.crop:
            crop = judged.report.shared_crop()
            if crop is None:
                raise CommandRefused(
                    "no plane is kept in all channels and positions, so nothing was cropped", INCOMPLETE
                )
            file.write_cropped(arguments.crop, crop.first, crop.last)
            written.append(arguments.crop)
    print("written: " + ", ".join(str(path) for path in written))
    return DONE


def _flags_of(source: Path) -> Path:
    from dimstream_client.file_streaming import flags_path  # needs the extra

    return flags_path(source)


def _check_places(arguments: argparse.Namespace, file: VolumeFile) -> None:
    lengths = {"time": file.times, "channel": file.channels, "position": file.positions}
    for name, length in {**lengths, **dict(zip(("plane", "row", "column"), file.shape))}.items():
        at = getattr(arguments, name)
        if at is not None and not 0 <= at < length:
            raise CommandRefused(f"expected --{name} from 0 to {length - 1}, got {at}")


def _judge(arguments: argparse.Namespace, file: VolumeFile) -> _Judged | None:
    """Judge the planes by their flags; print a note and return None if --flags is not given and there are
    none."""
    path = arguments.flags or _flags_of(arguments.source)
    if arguments.flags is None and not path.exists():
        if arguments.crop:
            raise CommandRefused(
                f"expected flags to crop by, and there is no {path}; give --flags", UNREADABLE
            )
        say(f"note: there is no {path}, so no crop is proposed; give --flags", DONE)
        return None
    records = read_records(path)
    for at in map(index_of, records):
        if not file.holds(at):
            raise RecordError(
                f"expected the flags of {arguments.source}, got in {path} a record of {at}, which it "
                "does not have; give the flags that were written with it"
            )
    thresholds, thresholds_from = _choose_thresholds(arguments, records)
    return _Judged(judge_volumes(records, thresholds), thresholds_from)


def _choose_thresholds(
    arguments: argparse.Namespace, records: Sequence[Mapping[str, Any]]
) -> tuple[Thresholds, str]:
    """Return the thresholds and their source."""
    stated = {name: value for name in _THRESHOLDS if (value := getattr(arguments, name)) is not None}
    names = [f"--{name.replace('_', '-')}" for name in stated]
    if not arguments.server:
        return replace(SHIPPED, **stated), ", ".join(
            [*names, *(["shipped defaults"] if len(stated) < 3 else [])]
        )
    model = _model_of(arguments, records)
    try:
        thresholds: Thresholds = checked({**model["thresholds"], **stated})
    except Refused as error:
        raise CommandRefused(f"{model['id']}: expected thresholds: {error}") from error
    if thresholds.ssim is None:
        raise CommandRefused(f"{model['id']}: expected a threshold `ssim`, the model has none; give --ssim")
    return thresholds, ", ".join([*names, f"model {model['id']}"])


def _model_of(arguments: argparse.Namespace, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the server's description of the model that denoised the stack."""
    models = credentials.http_client_of(arguments).models()
    used = sorted({str(record["model_sha256"]) for record in records if record.get("model_sha256")})
    matching = [model for model in models if [model["sha256"]] == used]
    if not matching:
        raise CommandRefused(
            f"expected on {arguments.server} the one model that denoised the stack, of sha256 {used}, got "
            f"{[model['id'] for model in models]}; leave out --server and give --ssim, "
            "--structure-score, --split"
        )
    return matching[0]


def _draw(arguments: argparse.Namespace, file: VolumeFile, judged: _Judged | None) -> Iterator[Path]:
    """Write the pictures, and return their paths."""
    c, p = arguments.channel, arguments.position
    series = None if judged is None else judged.report.of(c, p)
    kept = None if series is None else series.kept(file.depth)
    stated = {name: getattr(arguments, name) for name in ("plane", "row", "column")}
    place = replace(
        views.middle(file.shape, kept), **{name: at for name, at in stated.items() if at is not None}
    )
    aspect = _aspect(arguments, file)
    contrast = file.contrast(c, p)
    for t in range(file.times) if arguments.all_times else [arguments.time]:
        stack = file.read(t, c, p)
        try:
            slices = views.orthogonal(stack, place, contrast, aspect=aspect, kept=kept)
        except ValueError as error:
            raise CommandRefused(f"{error}, or give --aspect") from error
        prefix = f"t{t:0{len(str(file.times - 1))}d}." if arguments.all_times else ""
        yield _write(arguments, f"{prefix}orthogonal.png", views.png_bytes(slices))
        over_depth = views.projection(stack, contrast, kept=kept)
        yield _write(arguments, f"{prefix}projection.png", views.png_bytes(over_depth))


def _aspect(arguments: argparse.Namespace, file: VolumeFile) -> float:
    stated = file.aspect if arguments.aspect is None else float(arguments.aspect)
    if stated is None:
        say(
            "note: the file has no z step or no pixel size: planes are drawn 1 pixel thick; give --aspect",
            0,
        )
    return 1.0 if stated is None else stated


def _write(arguments: argparse.Namespace, ending: str, content: bytes) -> Path:
    """Write OUT.`ending`."""
    flags = _flags_of(arguments.source)
    folder = arguments.out_dir or flags.parent
    folder.mkdir(parents=True, exist_ok=True)
    path: Path = folder / f"{flags.name[: -len(_FLAGS_ENDING)]}.{ending}"
    path.write_bytes(content)
    return path


def _write_report(arguments: argparse.Namespace, judged: _Judged) -> Path:
    """Write OUT.volume.json, and print the proposed crop of each channel and position."""
    for series in judged.report.series:
        by = f"by {rules(judged.report.thresholds)} ({judged.thresholds_from})"
        print(f"{arguments.source}: {crop_line(series, several=len(judged.report.series) > 1)}; {by}")
    report = {
        "source": arguments.source.name,
        "thresholds_from": judged.thresholds_from,
        **judged.report.as_json(),
    }
    return _write(arguments, "volume.json", (json.dumps(report, indent=1) + "\n").encode())
