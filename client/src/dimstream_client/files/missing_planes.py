"""Handle incomplete stacks: refuse them with both numbers, or use the existing planes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.found_image import FoundImage

_LISTED: Final = 20  # names in a message


def some(names: Iterable[Any], between: str = ", ") -> str:
    """Return the names as a list for a message, shortened if it is too long."""
    names = [str(name) for name in names]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return between.join(names[:_LISTED]) + more


def arranged(image: FoundImage, order: Sequence[int], kept: Sequence[npt.NDArray[np.int64]]) -> FoundImage:
    """Return the image with its axes before YX in another order, and only the kept indices of each.

    Parameters
    ----------
    order : sequence of int
        Number of each new axis among the old ones.
    kept : sequence of (N,) int64
        For each old axis, the indices that are kept.
    """
    before = image.shape[:-2]

    def in_place(values: Any) -> Any:
        values = np.asarray(values).reshape(before)
        return values[np.ix_(*kept)].transpose(order).reshape(-1)

    return replace(
        image,
        axes="".join(image.axes[k] for k in order) + "YX",
        shape=(*(len(kept[k]) for k in order), *image.shape[-2:]),
        where=in_place(image.numbers),
        delta_t_s=None if image.delta_t_s is None else in_place(image.delta_t_s),
        labels=tuple(in_place(np.asarray(image.labels, object))) if len(image.labels) else (),
    )


def complete(image: FoundImage, *, take_incomplete: bool) -> FoundImage:
    """Return the complete image, or its existing planes if `take_incomplete`.

    Raises
    ------
    TiffError
        bad_image: planes are missing, or there are more than declared.
    """
    there = int((image.numbers >= 0).sum())
    declared = len(image)
    if there == declared and not image.spare:
        return image
    if not take_incomplete:
        raise _incomplete(image, declared, there)
    if not there:
        raise _incomplete(image, declared, there)
    if there == declared:
        spare = f"{declared} planes are declared and taken, {image.spare} pages more are left out"
        return replace(image, remarks=(*image.remarks, spare))
    kept = whole_box(image.numbers.reshape(image.shape[:-2]) >= 0)
    taken = math.prod(len(places) for places in kept)
    remark = f"{declared} planes are declared, {there} are there, {taken} are taken"
    image = replace(image, remarks=(*image.remarks, remark))
    return arranged(image, range(len(kept)), kept)


def _incomplete(image: FoundImage, declared: int, there: int) -> TiffError:
    absent = image.absent_files
    if absent:
        are = "1 file of the set is" if len(absent) == 1 else f"{len(absent)} files of the set are"
        why = f"{are} not there: {some(absent)}; give them next to it, by its path"
    elif there < declared:
        why = "the acquisition was stopped early, or the file is truncated"
    else:
        there += image.spare
        why = "the file was not closed as it should be, or holds something else too"
    return TiffError(
        Code.BAD_IMAGE,
        f"the file declares {declared} planes ({image.axes} {image.shape}) and {there} "
        f"{'is' if there == 1 else 'are'} there: {why}; take what is there by --incomplete "
        "(by HTTP incomplete=true)",
    )


def whole_box(there: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Return the indices along each axis of a box without missing planes, removing the emptiest indices
    first.

    Parameters
    ----------
    there : (T, C, Z) bool, or any other axes before YX
        Whether each plane exists.

    Returns
    -------
    list of (N,) int64
        For each axis, the indices that are kept.
    """
    kept = [np.arange(side) for side in there.shape]
    for axis in range(there.ndim):  # indices without any plane are removed first, all at once
        others = tuple(k for k in range(there.ndim) if k != axis)
        kept[axis] = np.flatnonzero(there.any(axis=others))
    there = there[np.ix_(*kept)]
    while not there.all():
        worst = [
            (there.mean(axis=tuple(k for k in range(there.ndim) if k != axis)), axis)
            for axis in range(there.ndim)
            if there.shape[axis] > 1
        ]
        shares, axis = min(worst, key=lambda each: float(each[0].min()))
        out = shares > shares.min()
        if not out.any():  # all are equally bad: leave out the last
            out = np.arange(len(shares)) < len(shares) - 1
        kept[axis] = kept[axis][out]
        there = there.compress(out, axis=axis)
    return kept
