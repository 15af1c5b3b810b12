"""The images of a recording as OME-Zarr 0.5, through zarr-python. Needs the extra ``zarr``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.core.sync import sync

from dimstream_client.messages import PlaneIndex
from dimstream_server.recording.description import Description
from dimstream_server.recording.frame_log import FrameLog
from dimstream_server.recording.spec import RecordedFrame

_ARRAY: Final = "0"
_AHEAD: Final = 64  # time points by which an array grows at a time
_MOST: Final = 2**31  # most chunks along an axis


class ZarrImages:
    """`raw.ome.zarr` and `denoised.ome.zarr` (`….p1.ome.zarr` for position 1, and so on).

    Each contains one array (t, c, z, y, x) with one chunk per frame. A chunk is written under another name
    and then renamed, so it is complete or missing; missing planes are zeros.
    """

    def __init__(self, folder: Path, description: Description) -> None:
        self._folder, self._description = folder, description
        self._arrays: dict[tuple[str, int], zarr.Array[Any]] = {}
        for path in folder.glob("*.ome.zarr"):
            kind, position = _kind_of(path)
            if (path / _ARRAY / "zarr.json").exists():
                self._arrays[kind, position] = zarr.open_array(path / _ARRAY, mode="r+")

    def append(self, frame: RecordedFrame) -> None:
        """See `Images`."""
        if max(frame.index.t, frame.index.c, frame.index.z) >= _MOST:
            raise ValueError(f"expected an index below {_MOST} for OME-Zarr, got {frame.index}")
        for kind, pixels in frame.pixels_of(self._description.dtypes):
            array = self._with_room(kind, frame.index)
            if pixels is not None:
                array[frame.index.t, frame.index.c, frame.index.z] = pixels

    def repair(self, lines: FrameLog) -> int:
        """See `Images`: chunks do not contain their order of arrival, so the lines are used."""
        for path in self._folder.glob("*.ome.zarr/**/*.partial"):
            path.unlink()
        return len(lines.recorded)

    def cut(self, frames: int) -> None:
        """See `Images`: frames without a line are written again, at the same place."""

    def finalise(self, lines: FrameLog) -> None:
        """See `Images`."""
        indexes = [each.at for each in lines.recorded if each.at is not None]
        if not indexes:
            return
        sizes = tuple(max(getattr(index, axis) for index in indexes) + 1 for axis in "tcz")
        for (kind, position), array in self._arrays.items():
            _resize(array, sizes)
            group = zarr.open_group(self._path(kind, position), mode="r+")
            group.attrs.put(self._attributes(kind, lines))

    def sync(self) -> None:
        """See `Images`: zarr-python does not wait for the disk, so the file system is synchronised."""
        os.sync()

    def close(self) -> None:
        """See `Images`."""

    def _with_room(self, kind: str, index: PlaneIndex) -> zarr.Array[Any]:
        array = self._arrays.get((kind, index.p))
        if array is None:
            array = self._arrays[kind, index.p] = self._make(kind, index)
        wanted = (index.t + 1, index.c + 1, index.z + 1)
        held = array.shape[:3]
        if any(w > h for w, h in zip(wanted, held, strict=True)):
            times = held[0] if wanted[0] <= held[0] else max(wanted[0], held[0] + max(_AHEAD, held[0] // 8))
            _resize(array, (times, max(wanted[1], held[1]), max(wanted[2], held[2])))
        return array

    def _make(self, kind: str, index: PlaneIndex) -> zarr.Array[Any]:
        group = zarr.create_group(self._path(kind, index.p), zarr_format=3, overwrite=True)
        group.attrs.put(self._attributes(kind, FrameLog()))
        return group.create_array(
            _ARRAY,
            shape=(index.t + 1, index.c + 1, index.z + 1, *self._description.shape),
            chunks=(1, 1, 1, *self._description.shape),
            dtype=self._description.dtypes[kind],
            compressors=BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
            dimension_names=["t", "c", "z", "y", "x"],
            fill_value=0,
        )

    def _attributes(self, kind: str, lines: FrameLog) -> dict[str, Any]:
        """Return OME's metadata and the processing."""
        description = self._description
        pixel_um, interval_s = description.pixel_size_um, description.frame_interval_s
        space: dict[str, str] = {"type": "space", **({"unit": "micrometer"} if pixel_um else {})}
        time: dict[str, str] = {"type": "time", **({"unit": "second"} if interval_s else {})}
        scale = [interval_s or 1.0, 1.0, 1.0, pixel_um or 1.0, pixel_um or 1.0]
        axes = [
            {"name": "t", **time},
            {"name": "c", "type": "channel"},
            {"name": "z", "type": "space"},
            {"name": "y", **space},
            {"name": "x", **space},
        ]
        transformations = [{"type": "scale", "scale": scale}]
        multiscales = [
            {
                "name": kind,
                "axes": axes,
                "datasets": [{"path": _ARRAY, "coordinateTransformations": transformations}],
            }
        ]
        in_force = [each.model_dump() for each in (description.in_force(), *lines.in_force)]
        own = {
            "kind": kind,
            **description.model_dump(mode="json", exclude={"model", "thresholds"}),
            "in_force": in_force,
            "devices": lines.devices,
            "stopped": lines.stopped,
        }
        return {"ome": {"version": "0.5", "multiscales": multiscales}, "dimstream": own}

    def _path(self, kind: str, position: int) -> Path:
        return _path_of(self._folder, kind, position)


def read_plane(folder: Path, kind: str, index: PlaneIndex) -> NDArray[Any]:
    """Return one image (H, W) of a recording.

    Raises
    ------
    OSError
        When there is no such array.
    """
    array = zarr.open_array(_path_of(folder, kind, index.p) / _ARRAY, mode="r")
    return np.asarray(array[index.t, index.c, index.z])


def _path_of(folder: Path, kind: str, position: int) -> Path:
    return folder / (f"{kind}.p{position}.ome.zarr" if position else f"{kind}.ome.zarr")


def _kind_of(path: Path) -> tuple[str, int]:
    kind, _, position = path.name.removesuffix(".ome.zarr").partition(".p")
    return kind, int(position or 0)


def _resize(array: zarr.Array[Any], sizes: tuple[int, ...]) -> None:
    """Change the lengths of t, c and z; no chunk is outside, so none must be deleted."""
    shape = (*sizes, *array.shape[3:])
    if shape != array.shape:
        sync(array.async_array.resize(shape, delete_outside_chunks=False))
