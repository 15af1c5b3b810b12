"""Which files form a pair: from a measurement day's folder, a CSV list, or one file of low-dose images."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from pydantic import TypeAdapter, ValidationError

from dimstream_client.files import group_sets
from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.images import SUFFIXES, ImageFile, is_image
from dimstream_models.training.pairs.prepared import Role

_ROLE: TypeAdapter[Role | None] = TypeAdapter(Role | None)
COLUMNS = ("low", "high", "day", "field", "role")
_OTHER_FORMATS = (
    *(".jpg", ".jpeg", ".jp2", ".bmp", ".gif", ".webp", ".npy", ".h5", ".hdf5", ".mat"),
    *(".nd2", ".czi", ".lif", ".lsm", ".oib", ".oif", ".oir", ".ims", ".stk", ".dv", ".vsi", ".sld", ".spe"),
)
"""Suffixes of image formats that may hold counts but cannot be read. Such files are refused, not skipped."""
_EXPECTED = (
    "expected a folder with low/ and high/, or with low.tif and high.tif, or a CSV list with the columns"
    f" {', '.join(COLUMNS)} (low is enough), or an image"
)


@dataclass(frozen=True)
class ListedPair:
    """Two files that belong together, plane by plane; only one without high dose."""

    name: str
    day: str
    low: ImageFile
    high: ImageFile | None
    matched: Literal["name", "order", "list"]
    field: str | None = None  # pairs of one day with the same value show the same place
    role: Role | None = None  # if the list states it


def list_pairs(sources: Sequence[Path]) -> tuple[ListedPair, ...]:
    """Return the pairs of all sources; each folder is a measurement day, named after the folder.

    Raises
    ------
    InvalidPairs
        When a source is not usable, files cannot be matched without guessing, or two pairs have the same
        name.
    """
    listed = tuple(pair for source in sources for pair in _list_source(source))
    _refuse_twice((pair.name for pair in listed), "pairs of the same name: give folders of different names")
    images = (image for pair in listed for image in (pair.low, pair.high) if image is not None)
    _refuse_twice((str(replace(image, path=image.path.resolve())) for image in images), "images listed twice")
    return listed


def _list_source(source: Path) -> list[ListedPair]:
    if source.is_dir():
        return _list_folder(source)
    if not source.is_file():
        raise InvalidPairs(f"{source}: there is no such file or folder; {_EXPECTED}")
    if source.suffix.lower() == ".csv":
        return _list_csv(source)
    if is_image(source):
        return [ListedPair(source.stem, source.stem, ImageFile(source), None, "name")]
    raise InvalidPairs(f"{source}: {_EXPECTED}")


def _list_folder(folder: Path) -> list[ListedPair]:
    low, high = (_images_of(folder, dose) for dose in ("low", "high"))
    day = folder.resolve().name
    if low is None:
        below = sorted(path.name for path in folder.iterdir() if (path / "low").is_dir())
        hint = f"; give the measurement days in it as sources: {', '.join(below)}" if below else ""
        raise InvalidPairs(f"{folder}: {_EXPECTED}{hint}")
    if high is None:
        return [_listed(folder, day, image, None, "name") for image in low]
    matched: Literal["name", "order"] = "name"
    names = [[_stem(image, dose) for image in images] for dose, images in (("low", low), ("high", high))]
    if sorted(names[0]) != sorted(names[1]):
        matched = "order"
        _refuse_guessing(folder, *names)
    else:
        by_name = dict(zip(names[1], high, strict=True))
        high = [by_name[name] for name in names[0]]
    return [_listed(folder, day, *images, matched) for images in zip(low, high, strict=True)]


def _images_of(folder: Path, dose: str) -> list[Path] | None:
    """Return the images of one dose in natural order; None if the folder has none."""
    single = [path for path in folder.glob(f"{dose}.*") if is_image(path)]
    if not (folder / dose).is_dir():
        if len(single) > 1:
            raise InvalidPairs(f"{folder}: expected one {dose}.tif, got {', '.join(map(str, single))}")
        return single or None
    if single:
        raise InvalidPairs(f"{folder}: expected {dose}/ or {single[0].name}, got both: remove one")
    images = sorted((path for path in (folder / dose).iterdir() if is_image(path)), key=_natural)
    if other := sorted(path.name for path in (folder / dose).iterdir() if _is_other_image(path)):
        raise InvalidPairs(
            f"{folder / dose}: expected images ({', '.join(SUFFIXES)}), got also {', '.join(other[:9])}"
            f"{' and more' if len(other) > 9 else ''}: export them as TIFF, or remove them from the folder"
        )
    if not images:
        raise InvalidPairs(f"{folder / dose}: expected images ({', '.join(SUFFIXES)}), got none")
    images = [
        group[0] for group in group_sets(images)
    ]  # the other files of a set are read with its first one
    _refuse_twice((path.stem for path in images), f"images of the same name in {folder / dose}")
    return images


def _is_other_image(path: Path) -> bool:
    return path.suffix.lower() in _OTHER_FORMATS and not is_image(path) and not path.name.startswith(".")


def _refuse_guessing(folder: Path, low: list[str], high: list[str]) -> None:
    """Refuse to match files by their order when their names suggest another match."""
    if len(low) == len(high) and not set(low) & set(high):
        return
    alone = ", ".join(sorted(set(low) ^ set(high), key=_natural))
    raise InvalidPairs(
        f"{folder}: expected low/ and high/ with the same names, or with other names but equally many files;"
        f" got {len(low)} and {len(high)}, without a partner: {alone}."
        " Rename or remove these, or write a CSV list"
    )


def _listed(
    folder: Path, day: str, low: Path, high: Path | None, matched: Literal["name", "order"]
) -> ListedPair:
    name = day if low.parent == folder else f"{day}/{low.stem}"
    return ListedPair(name, day, ImageFile(low), None if high is None else ImageFile(high), matched)


def _stem(image: Path, dose: str) -> str:
    return "" if image.stem == dose and image.parent.name != dose else image.stem


def _list_csv(path: Path) -> list[ListedPair]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, restkey="", strict=True)
            columns = tuple(rows.fieldnames or ())
            once = len(set(columns)) == len(columns)
            if "low" not in columns or not once or not set(columns) <= set(COLUMNS):
                raise InvalidPairs(
                    f"{path}: expected columns low and high, and day, field, role as needed, each once,"
                    f" with commas between them; got {', '.join(columns) or 'nothing'}"
                )
            listed = [_row(path, rows.line_num, row) for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidPairs(f"{path}: expected a CSV list in UTF-8, got: {error}") from error
    if not listed:
        raise InvalidPairs(f"{path}: expected a line for each pair, got only the columns' names")
    return listed


def _row(path: Path, line: int, row: dict[str, str | None]) -> ListedPair:
    cells = {key: (value or "").strip() for key, value in row.items() if key}
    if "" in row or not cells["low"] or "\0" in "".join(cells.values()):
        raise InvalidPairs(f"{path}, line {line}: expected a low-dose image and as many cells as columns")
    day = cells.get("day") or path.stem
    low = _image_file(path.parent, cells["low"])
    high = _image_file(path.parent, cells["high"]) if cells.get("high") else None
    stem = low.path.relative_to(path.parent) if low.path.is_relative_to(path.parent) else low.path
    name = f"{day}/{stem.with_suffix('').as_posix().lstrip('/')}"
    if low.stack is not None:
        name += f"#{low.stack}"
    try:
        role = _ROLE.validate_python(cells.get("role") or None)
    except ValidationError as error:
        raise InvalidPairs(f"{path}, line {line}: expected a role of {', '.join(get_args(Role))}") from error
    return ListedPair(name, day, low, high, "list", cells.get("field") or None, role)


def _image_file(folder: Path, cell: str) -> ImageFile:
    """Return the image that a cell names: `file.tif`, or `file.msr#stack`."""
    path, _, stack = cell.rpartition("#")
    if not path or (folder / cell).exists():
        return ImageFile(folder / cell)
    return ImageFile(folder / path, stack)


def _natural(name: Path | str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key that puts `image 2` before `image 10`."""
    text = name.name if isinstance(name, Path) else name
    parts = re.split(r"(\d+)", text.lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def _refuse_twice(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidPairs(f"{what}: {name}")
        seen.add(name)
