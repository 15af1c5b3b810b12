"""Write an open stack, or frames made from it, with all its metadata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dimstream_client.files import ImageStack
from dimstream_client.files.ome_writer import PlaneNotes
from dimstream_client.files.tiff_writer import Source, StackWriter


def notes_of(stack: ImageStack, frames: Sequence[int] | None = None) -> PlaneNotes:
    """Return the times and labels of all or some frames of a stack."""
    chosen = range(len(stack)) if frames is None else frames
    times = [stack.delta_t_s(n) for n in chosen]
    known = any(time is not None for time in times)
    labels = [stack.labels[n] for n in chosen] if stack.labels else []
    return PlaneNotes(times_s=times if known else (), labels=labels, started_at=stack.started_s)


def writer_of(
    stack: ImageStack,
    target: Source,
    *,
    dtype: str,
    is_support: bool = False,
    written: int = 0,
    may_grow: bool = False,
) -> StackWriter:
    """Return a writer for frames of `dtype` with the axes, scale, times and labels of a stack.

    Parameters
    ----------
    is_support : bool
        Whether the frames are support maps.
    written : int
        Number of pages in an interrupted file.
    may_grow : bool
        Whether the stack can have more frames when the file is continued.

    Raises
    ------
    OSError
    """
    return StackWriter(
        target,
        axes=stack.axes,
        shape=stack.shape,
        dtype=dtype,
        scale=stack.scale,
        notes=notes_of(stack),
        is_support=is_support,
        written=written,
        may_grow=may_grow,
    )


def write_stack(stack: ImageStack, path: Path) -> None:
    """Write a stack as an OME-TIFF with explicit metadata.

    Raises
    ------
    TiffError
        When a frame cannot be read.
    OSError
    """
    with writer_of(stack, path, dtype=stack.dtype) as writer:
        for frame in stack.frames():
            writer.write(frame)
