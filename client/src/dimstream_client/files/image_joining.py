"""Join images of one kind into one image, along an axis slower than all of theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dimstream_client.files.found_image import FoundImage, Planes
from dimstream_client.files.tiff_pages import PagePlanes


def join(axis: str, images: list[FoundImage]) -> FoundImage:
    """Return images of one kind as one image, along an axis slower than all of theirs."""
    first = images[0]
    planes = JoinedPlanes([image.planes for image in images])
    where = []
    for start, image in zip(planes.starts, images):
        numbers = image.numbers
        where.append(np.where(numbers < 0, -1, numbers + start))
    times = [np.full(len(i), np.nan) if i.delta_t_s is None else _since(i, first) for i in images]
    labels = [label for image in images for label in (image.labels or [""] * len(image))]
    return replace(
        first,
        axes=axis + first.axes,
        shape=(len(images), *first.shape),
        planes=planes,
        where=np.concatenate(where),
        delta_t_s=None if all(i.delta_t_s is None for i in images) else np.concatenate(times),
        labels=tuple(labels) if any(labels) else (),
        spare=max(image.spare for image in images),
        absent_files=tuple(dict.fromkeys(name for image in images for name in image.absent_files)),
        remarks=tuple(dict.fromkeys(remark for image in images for remark in image.remarks)),
    )


def _since(image: FoundImage, first: FoundImage) -> Any:
    """Return the times of an image, in seconds since the start of the first one."""
    assert image.delta_t_s is not None
    if image.started_s is None or first.started_s is None:
        return image.delta_t_s
    return image.delta_t_s + (image.started_s - first.started_s)


class JoinedPlanes:
    """Planes of several images, one after the other."""

    def __init__(self, parts: list[Planes]) -> None:
        self._parts = parts
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _part(self, k: int) -> tuple[Planes, int]:
        part = int(np.searchsorted(self.starts, k, side="right")) - 1
        return self._parts[part], k - int(self.starts[part])

    def stored(self, k: int) -> Any:
        """Return plane `k` as stored in its file, (H, W)."""
        part, within = self._part(k)
        return part.stored(within)

    def check(self, k: int) -> bool:
        """Raise TiffError if plane `k` is missing."""
        part, within = self._part(k)
        return part.check(within)

    def place(self, k: int) -> Any:
        """Return file and page of plane `k`."""
        part, within = self._part(k)
        return part.place(within) if isinstance(part, PagePlanes) else (0, k)

    def paths(self) -> tuple[str, ...]:
        """Return the paths of the files with the planes, if they have paths."""
        return tuple(dict.fromkeys(path for part in self._parts for path in part.paths()))

    def close(self) -> None:
        """Close the files."""
        for part in self._parts:
            part.close()
