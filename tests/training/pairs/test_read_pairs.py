"""Pairs for `evaluate` and `calibrate`, from a prepared folder or straight from files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from training.pairs.experiments import expose_pair

from dimstream_models.training.errors import InvalidPairs, InvalidPrepared
from dimstream_models.training.pairs.pair_reader import read_pairs
from dimstream_models.training.pairs.prepared import Prepared


def test_a_prepared_folder_gives_its_test_fields_registered(prepared: Prepared) -> None:
    pairs = list(read_pairs(prepared.folder))
    assert [pair.name for pair in pairs] == [f"day-2/field-{n}" for n in (4, 5, 6)]
    assert all(pair.high is not None and pair.high.shape == pair.low.shape == (93, 92) for pair in pairs)
    assert len(list(read_pairs(prepared.folder, role="training"))) == 3


def test_a_changed_field_is_not_given(prepared: Prepared, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(prepared.folder, tmp_path / "copy"))
    field = prepared.of("test")[1]
    content = (copy / field.file).read_bytes()
    (copy / field.file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    pairs = read_pairs(copy)
    assert next(pairs).name == "day-2/field-4"
    with pytest.raises(InvalidPrepared, match="has changed"):
        next(pairs)


def test_files_are_given_as_they_are(two_days: list[Path], tmp_path: Path) -> None:
    pairs = list(read_pairs(two_days[1]))
    assert [(pair.name, pair.day) for pair in pairs] == [(f"day-2/field-{n}", "day-2") for n in (4, 5, 6)]
    np.testing.assert_array_equal(pairs[0].low, expose_pair(4)[0])
    (tmp_path / "list.csv").write_text(
        f"low,high\n{two_days[0]}/low/field-0.tif,{two_days[0]}/high/field-0.tif\n"
    )
    (listed,) = read_pairs(tmp_path / "list.csv")
    np.testing.assert_array_equal(listed.low, expose_pair(0)[0])


def test_a_movie_alone_has_no_high_dose(tmp_path: Path) -> None:
    movie = np.random.default_rng(0).poisson(1, (4, 32, 40)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "movie.tif", movie, photometric="minisblack")
    pairs = list(read_pairs(tmp_path / "movie.tif"))
    assert [pair.name for pair in pairs] == [f"movie[{n}]" for n in range(4)]
    assert all(pair.high is None for pair in pairs)
    np.testing.assert_array_equal([pair.low for pair in pairs], movie)


def test_a_role_that_no_field_has_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(prepared.folder, tmp_path / "copy"))
    index = (copy / "prepared.json").read_text()
    (copy / "prepared.json").write_text(
        index.replace('"role":"test"', '"role":"training"').replace('"role": "test"', '"role": "training"')
    )
    with pytest.raises(InvalidPairs, match="has no test fields"):
        list(read_pairs(copy))
