"""Which files make a pair, and where guessing begins."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.listing import list_pairs
from dimstream_models.training.pairs.pair_reader import open_pair


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(*sources: Path) -> list[tuple[str, str, str | None]]:
    return [
        (pair.name, pair.low.path.name, None if pair.high is None else pair.high.path.name)
        for pair in list_pairs(sources)
    ]


def test_equal_names_belong_together_whatever_the_suffix(tmp_path: Path) -> None:
    day = touch(tmp_path / "may-3", "low/b.tif", "low/a.tif", "high/a.tiff", "high/b.tif", "low/notes.txt")
    assert listed(day) == [("may-3/a", "a.tif", "a.tiff"), ("may-3/b", "b.tif", "b.tif")]
    assert {pair.matched for pair in list_pairs([day])} == {"name"}


def test_other_names_go_by_natural_order(tmp_path: Path) -> None:
    day = touch(tmp_path / "day", *(f"{kind}_{n}.tif" for n in (10, 9) for kind in ("low/l", "high/h")))
    assert listed(day) == [("day/l_9", "l_9.tif", "h_9.tif"), ("day/l_10", "l_10.tif", "h_10.tif")]
    assert {pair.matched for pair in list_pairs([day])} == {"order"}


def test_single_stacks_are_a_pair_named_by_the_day(tmp_path: Path) -> None:
    assert listed(touch(tmp_path / "day", "low.tif", "high.ome.tif", "high.txt")) == [
        ("day", "low.tif", "high.ome.tif")
    ]


def test_low_dose_alone_has_no_partner(tmp_path: Path) -> None:
    touch(tmp_path, "day/low/a.tif", "other/low.tif", "movie.tif")
    assert listed(tmp_path / "day", tmp_path / "other", tmp_path / "movie.tif") == [
        ("day/a", "a.tif", None),
        ("other", "low.tif", None),
        ("movie", "movie.tif", None),
    ]


def test_a_list_says_everything(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        "\ufefflow,high,day,field,role\nsub/a.tif, b.tif ,may-3,cell 1,test\nc.msr#STED {1},c.msr#3,,,\n"
    )
    first, second = list_pairs([tmp_path / "list.csv"])
    assert (first.name, first.day, first.field, first.role) == ("may-3/sub/a", "may-3", "cell 1", "test")
    assert first.high is not None
    assert first.high.path == tmp_path / "b.tif"
    assert (second.name, second.day, second.role) == ("list/c#STED {1}", "list", None)
    assert (second.low.path, second.low.stack) == (tmp_path / "c.msr", "STED {1}")
    assert second.high is not None
    assert second.high.stack == "3"


FOLDERS = {
    "one has no partner": (("low/a.tif", "low/b.tif", "high/a.tif"), "without a partner: b"),
    "some names are equal": (
        ("low/a.tif", "low/b.tif", "high/b.tif", "high/c.tif"),
        "without a partner: a, c",
    ),
    "unequal numbers": (("low/a.tif", "low/b.tif", "high/c.tif"), "got 2 and 1"),
    "nothing in it": (("notes.txt",), r"expected a folder with low/ and high/"),
    "days below it": (("day-1/low/a.tif", "day-2/low/a.tif"), "as sources: day-1, day-2"),
    "no images": (("low/a.txt", "high/a.txt"), r"expected images \(.tif"),
    "formats that are not read": (
        ("low/a.tif", "low/b.JPG", "low/c.czi", "high/a.tif"),
        r"expected images \(.tif.*got also b.JPG, c.czi",
    ),
    "both forms": (("low/a.tif", "low.tif", "high/a.tif"), "expected low/ or low.tif, got both"),
    "two suffixes": (("low/a.tif", "low/a.tiff", "high/a.tif"), "images of the same name"),
}


@pytest.mark.parametrize(("names", "reason"), FOLDERS.values(), ids=FOLDERS)
def test_folders_in_which_one_would_have_to_guess_are_refused(
    tmp_path: Path, names: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(InvalidPairs, match=reason):
        list_pairs([touch(tmp_path / "day", *names)])


LISTS = {
    "unknown column": ("low,high,comment\na.tif,b.tif,x\n", "got low, high, comment"),
    "semicolons": ("low;high\na.tif;b.tif\n", "with commas"),
    "no low column": ("noisy,clean\na.tif,b.tif\n", "expected columns low and high"),
    "no lines": ("low,high\n", "a line for each pair"),
    "no low image": ("low,high\n,b.tif\n", "line 2: expected a low-dose image"),
    "too many cells": ("low,high\na.tif,b.tif,c\n", "as many cells as columns"),
    "unknown role": ("low,role\na.tif,train\n", "line 2: expected a role of training, validation, test"),
    "twice": ("low,high\na.tif,b.tif\na.tif,c.tif\n", "list/a"),
    "one image in two pairs": ("low,high\na.tif,b.tif\nc.tif,b.tif\n", "images listed twice"),
    "a column twice": ("low,low\na.tif,b.tif\n", "each once"),
    "a null byte": ("low,high\na\0.tif,b.tif\n", "line 2: expected a low-dose image"),
    "no text": (b"low,high\n\xff\xfe,b.tif\n", "UTF-8"),
}


@pytest.mark.parametrize(("text", "reason"), LISTS.values(), ids=LISTS)
def test_lists_that_cannot_be_obeyed_are_refused(tmp_path: Path, text: str | bytes, reason: str) -> None:
    content = text.encode() if isinstance(text, str) else text
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(InvalidPairs, match=reason):
        list_pairs([tmp_path / "list.csv"])


def test_two_days_of_one_name_are_refused(tmp_path: Path) -> None:
    days = [touch(tmp_path / side / "day", "low.tif", "high.tif") for side in ("left", "right")]
    with pytest.raises(InvalidPairs, match="same name"):
        list_pairs(days)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPairs, match="no such file or folder"):
        list_pairs([tmp_path / "nowhere"])


def test_files_of_a_set_are_one_image(tmp_path: Path) -> None:
    """A z-stack in three files, each of which names all: three planes, and not nine."""
    for dose in ("low", "high"):
        folder = tmp_path / "day" / dose
        folder.mkdir(parents=True)
        pieces = "".join(
            f'<TiffData FirstZ="{k}"><UUID FileName="z{k}.ome.tif">urn:uuid:{k}</UUID></TiffData>'
            for k in range(3)
        )
        for k in range(3):
            xml = (
                f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
                f'UUID="urn:uuid:{k}"><Image ID="Image:0"><Pixels ID="P:0" DimensionOrder="XYZCT" '
                f'Type="uint16" SizeX="8" SizeY="8" SizeZ="3" SizeC="1" SizeT="1">'
                f"{pieces}</Pixels></Image></OME>"
            )
            counts = np.full((8, 8), k, np.uint16)
            tifffile.imwrite(folder / f"z{k}.ome.tif", counts, description=xml, metadata=None)
    (found,) = list_pairs([tmp_path / "day"])
    assert found.low.path.name == "z0.ome.tif"
    pairs = list(open_pair(found))
    assert [int(pair.low.max()) for pair in pairs] == [0, 1, 2]
