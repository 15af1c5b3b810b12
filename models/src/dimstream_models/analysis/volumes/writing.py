"""The paper's figure 4 of a file of z-stacks: views, surfaces, and a record of their settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dimstream_client.files import TiffError, open_images
from dimstream_models.analysis.errors import InvalidMovie
from dimstream_models.analysis.volumes.judged import Kept
from dimstream_models.analysis.volumes.mesh_files import as_ply, as_stl
from dimstream_models.analysis.volumes.pictures import Slices, draw_orthogonal, draw_surface
from dimstream_models.analysis.volumes.stacks import VolumeScale, ZStacks
from dimstream_models.analysis.volumes.surfaces import (
    RESAMPLING,
    THRESHOLD,
    Surface,
    surface_of,
    threshold_in_unit,
)
from dimstream_models.whole_files import write_whole

SHOWN: Final = 4
VIEWS: Final = "orthogonal.png"
WHAT: Final = "volumes.json"


@dataclass(frozen=True)
class VolumeSettings:
    """What is shown of z-stacks, and how surfaces are made.

    Parameters
    ----------
    channel, position : int
    times : tuple of int
        Time points; if empty, four that are spread over the series.
    plane, row, column : int or None
        Positions of slices; by default the middle.
    threshold : float
        Grey level, 0 to 255.
    resampling : int
        Side of a block that is averaged first, in planes and pixels.
    """

    channel: int = 0
    position: int = 0
    times: tuple[int, ...] = ()
    plane: int | None = None
    row: int | None = None
    column: int | None = None
    threshold: float = THRESHOLD
    resampling: int = RESAMPLING


@dataclass(frozen=True)
class SurfaceWritten:
    """A written surface: its file without suffix, size, volume and area."""

    name: str
    time: int
    triangles: int
    volume_um3: float
    area_um2: float


def write_volumes(
    path: Path,
    folder: Path,
    kept: Kept,
    settings: VolumeSettings,
    *,
    pixel_size_um: float | None = None,
    z_step_um: float | None = None,
) -> list[SurfaceWritten]:
    """Write `orthogonal.png`, a surface of each shown time point as PLY, STL and PNG, and `volumes.json`.

    Parameters
    ----------
    path : Path
        File of denoised z-stacks.
    pixel_size_um, z_step_um : float, optional
        Used in place of the file's own values.

    Raises
    ------
    InvalidMovie, InvalidImage
    """
    try:
        with open_images(path, below_zero=True, pixel_size_um=pixel_size_um, z_step_um=z_step_um) as stack:
            zstacks = ZStacks(stack, kept, channel=settings.channel, position=settings.position)
            return _write(zstacks, folder, kept, settings, path.name)
    except TiffError as error:
        raise InvalidMovie(f"{path}: {error.detail}") from error
    except FileNotFoundError as error:
        raise InvalidMovie(f"{path}: expected a file, but there is none: check the path") from error


def _write(
    zstacks: ZStacks, folder: Path, kept: Kept, settings: VolumeSettings, source: str
) -> list[SurfaceWritten]:
    scale, times = zstacks.scale, _shown_times(zstacks.times, kept, settings.times)
    contrast = zstacks.contrast(times)
    folder.mkdir(parents=True, exist_ok=True)
    stacks = {time: zstacks.read(time) for time in times}
    shape = next(iter(stacks.values())).shape
    slices = _slices(shape, kept, settings)
    views = draw_orthogonal(stacks, slices, contrast, scale, first_plane=kept.first)
    write_whole(folder / VIEWS, views)
    written = []
    for time, stack in stacks.items():
        surface = surface_of(
            stack,
            contrast,
            scale.spacing_um,
            threshold=settings.threshold,
            resampling=settings.resampling,
            first_plane=kept.first,
        )
        written.append(_write_surface(surface, time, folder, scale, settings))
    about = _about(source, kept, settings, contrast, scale)
    about |= {"slices": asdict(slices), "surfaces": [asdict(one) for one in written]}
    write_whole(folder / WHAT, (json.dumps(about, indent=1) + "\n").encode())
    return written


def _shown_times(count: int, kept: Kept, asked: Sequence[int]) -> list[int]:
    trusted = [time for time in range(count) if time not in kept.not_trusted]
    if unknown := sorted(set(asked) - set(trusted)):
        raise InvalidMovie(
            f"expected time points from 0 to {count - 1} in which planes are trusted, got"
            f" {', '.join(map(str, unknown[:8]))}: choose others (--times)"
        )
    if asked:
        return sorted(set(asked))
    if not trusted:
        raise InvalidMovie("expected time points in which planes are trusted, got none")
    places = np.linspace(0, len(trusted) - 1, SHOWN).round().astype(int)
    return sorted({trusted[place] for place in places})


def _slices(shape: tuple[int, ...], kept: Kept, settings: VolumeSettings) -> Slices:
    middle = (kept.first + shape[0] // 2, shape[1] // 2, shape[2] // 2)
    asked = (settings.plane, settings.row, settings.column)
    plane, row, column = (m if a is None else a for m, a in zip(middle, asked, strict=True))
    inside = kept.first <= plane <= kept.last and 0 <= row < shape[1] and 0 <= column < shape[2]
    if not inside:
        raise InvalidMovie(
            f"expected slices within planes {kept.first} to {kept.last}, rows to {shape[1] - 1} and columns"
            f" to {shape[2] - 1}, got plane {plane}, row {row}, column {column}"
        )
    return Slices(plane, row, column)


def _write_surface(
    surface: Surface, time: int, folder: Path, scale: VolumeScale, settings: VolumeSettings
) -> SurfaceWritten:
    name = f"surface-t{time:04}"
    comment = f"time point {time}, grey level {settings.threshold:g} of 255, resampling {settings.resampling}"
    title = f"{scale.when(time)}; surface at grey level {settings.threshold:g} of 255"
    files = {
        "ply": as_ply(surface, comment),
        "stl": as_stl(surface, comment),
        "png": draw_surface(surface, title=title),
    }
    for ending, content in files.items():
        write_whole(folder / f"{name}.{ending}", content)
    return SurfaceWritten(name, time, len(surface.faces), surface.volume_um3(), surface.area_um2())


def _about(
    source: str, kept: Kept, settings: VolumeSettings, contrast: tuple[float, float], scale: VolumeScale
) -> dict[str, Any]:
    return {
        "source": source,
        "kept": asdict(kept),
        "black": contrast[0],
        "white": contrast[1],
        "threshold_grey": settings.threshold,
        "threshold_in_the_files_unit": threshold_in_unit(contrast, settings.threshold),
        "resampling": settings.resampling,
        "pixel_um": scale.pixel_um,
        "z_step_um": scale.z_step_um,
    }
