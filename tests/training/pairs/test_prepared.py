"""A prepared folder proves that its files are unchanged."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dimstream_models.training.errors import InvalidPrepared
from dimstream_models.training.pairs.prepared import Prepared, read_prepared


@pytest.fixture
def folder(prepared: Prepared, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared.folder, tmp_path / "copy"))


def test_a_copy_is_the_same_data(folder: Path, prepared: Prepared) -> None:
    copy = read_prepared(folder)
    assert copy.sha256 == prepared.sha256
    copy.check(copy.fields)


def edit(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        index = json.loads((folder / "prepared.json").read_text())
        change(index)
        (folder / "prepared.json").write_text(json.dumps(index))

    return damage


def resave(values: np.ndarray) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / "fields" / "00002.npy", values)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "not finished": (
        lambda folder: (folder / "prepared.json").unlink(),
        "`dimstream-train prepare` finished",
    ),
    "half an index": (
        lambda folder: (folder / "prepared.json").write_text('{"format_version": 1'),
        "not a file of `prepare`",
    ),
    "a newer version": (edit(lambda index: index.update(format_version=2)), "format_version"),
    "an unknown key": (edit(lambda index: index.update(colour="red")), "colour"),
    "a path that leads out": (
        edit(lambda index: index["fields"][0].update(file="../x.npy")),
        "fields.0.file",
    ),  # type: ignore[index]
    "a missing file": (lambda folder: (folder / "fields" / "00002.npy").unlink(), "00002.npy cannot be read"),
    "another shape": (
        resave(np.zeros((2, 5, 5), np.uint16)),
        r"expected \(2, 93, 92\) uint16 in fields/00002.npy",
    ),
    "another type": (resave(np.zeros((2, 93, 92), np.float32)), "got .* float32"),
    "no npy": (lambda folder: (folder / "fields" / "00002.npy").write_bytes(b"counts"), "cannot be read"),
    "cut off": (lambda folder: os.truncate(folder / "fields" / "00002.npy", 9000), "expected"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_damage_is_found_when_a_folder_is_read(
    folder: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(folder)
    with pytest.raises(InvalidPrepared, match=reason):
        read_prepared(folder)


def test_changed_counts_are_found_by_their_hash(folder: Path) -> None:
    content = bytearray((folder / "fields" / "00002.npy").read_bytes())
    content[-2] ^= 1
    (folder / "fields" / "00002.npy").write_bytes(content)
    pairs = read_prepared(folder)
    pairs.check(pairs.fields[:2])
    with pytest.raises(InvalidPrepared, match=r"00002.npy has changed; run `dimstream-train prepare` again"):
        pairs.check(pairs.fields)


def test_roles_belong_to_the_identity(folder: Path, prepared: Prepared) -> None:
    edit(lambda index: index["fields"][0].update(role="test"))(folder)  # type: ignore[index]
    assert read_prepared(folder).sha256 != prepared.sha256


def test_opened_images_cannot_be_written(prepared: Prepared) -> None:
    low, _ = prepared.open(prepared.fields[0])
    with pytest.raises(ValueError, match="read-only"):
        low[0, 0] = 1
