"""Checks of output files, before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dimstream_client.commands.exit_codes import UNREADABLE, CommandRefused

ENDINGS: Final = (".tif", ".tiff", ".btf")


def check_name(out: Path, source: Path) -> None:
    """Refuse an output whose name is not that of a TIFF.

    Raises
    ------
    CommandRefused
    """
    if out.is_dir():
        name = f"{source.name.split('.')[0] or 'out'}.ome.tif"
        raise CommandRefused(f"{out} is a folder; name a file in it, such as {out / name}", UNREADABLE)
    if not out.name.lower().endswith(ENDINGS):
        raise CommandRefused(f"the output is an OME-TIFF: name it with .ome.tif at its end, not {str(out)!r}")


def check_out(out: Path, source: Path, *, beside: tuple[Path, ...] = (), replaces: bool = False) -> None:
    """Refuse an output that cannot be written, has no TIFF name, or would overwrite data.

    Parameters
    ----------
    beside : tuple of Path
        Other files that will be written.
    replaces : bool
        Whether existing files may be replaced; never the source.

    Raises
    ------
    CommandRefused
    OSError
    """
    check_name(out, source)
    if not out.parent.is_dir():
        raise CommandRefused(f"there is no folder {out.parent} for {out}; make it first", UNREADABLE)
    for path in (out, *beside):
        if path.exists() and source.exists() and path.samefile(source):
            raise CommandRefused(f"{path} would be overwritten while it is read; name another")
    if not replaces and not is_replaceable(out):
        raise CommandRefused(
            f"{out} already exists and was not made by dimstream; name another, or replace it by --overwrite"
        )
    check_writable(out)


def is_replaceable(out: Path) -> bool:
    """Return whether a file can be replaced without loss: it is missing, empty, or a result of dimstream."""
    if not out.is_file() or out.stat().st_size == 0:
        return True
    import tifffile

    try:
        with tifffile.TiffFile(out) as file:
            text = file.pages.first.description
    except Exception:  # whatever tifffile raises: the file is not of dimstream
        return False
    return "<OME" in text and 'Creator="dimstream' in text


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically: it gets its name when it is complete, so a full disk leaves no partial file.

    Raises
    ------
    OSError
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):  # a device is never replaced by a file
        path.write_bytes(content)
        return
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def check_writable(out: Path) -> None:
    """Raise OSError now if a file cannot be written, and not after the answer came."""
    existed = out.exists()
    out.open("ab").close()
    if not existed:
        out.unlink()
