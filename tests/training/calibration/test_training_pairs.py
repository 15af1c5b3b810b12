"""Scale and offset from image files and prepared folders: which pairs count, and which do not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from dimstream_models.training.calibration.training_pairs import (
    rescaling_of_pairs,
    rescaling_of_split_photons,
)
from dimstream_models.training.errors import CannotCalibrate
from dimstream_models.training.pairs.prepare_folder import prepare
from dimstream_models.training.pairs.prepared import PrepareSettings, read_prepared

RATIO = 30
OFFSET = 100


def halved(counts: NDArray[Any]) -> NDArray[np.float32]:
    return (counts / 2).astype(np.float32)  # a "network" whose gain is known: 2 * RATIO


def write_pairs(folder: Path, *, ratio: int = RATIO, number: int = 4, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for dose in ("low", "high"):
        (folder / dose).mkdir(parents=True)
    for index in range(number):
        half, noise = rng.poisson(5.0, (16, 40)), rng.uniform(-90, 90, (16, 40)).round()
        low = np.concatenate(
            [half, half]
        )  # the same counts twice, their noise with either sign: it sums to 0
        high = ratio * low + OFFSET + np.concatenate([noise, -noise])
        tifffile.imwrite(folder / "low" / f"{index}.tif", low.astype(np.uint16))
        tifffile.imwrite(folder / "high" / f"{index}.tif", high.astype(np.uint16))
    return folder


def test_all_pairs_of_image_files_count(tmp_path: Path) -> None:
    found = rescaling_of_pairs(write_pairs(tmp_path / "day"), halved, "least_squares")
    assert (found.gain, found.offset) == pytest.approx((2 * RATIO, OFFSET))
    assert (found.record.images, found.record.data) == (4, "all pairs of day")


def test_of_a_prepared_folder_the_training_fields_alone_count(tmp_path: Path) -> None:
    days = [write_pairs(tmp_path / "day1"), write_pairs(tmp_path / "day2", ratio=20, seed=1)]
    settings = PrepareSettings(
        registered=False,
        fields_of_view="files",
        test_days=("day2",),
        validation_share=0.25,
        test_share=0,
    )
    prepare(days, tmp_path / "prepared", settings)
    found = rescaling_of_pairs(tmp_path / "prepared", halved, "least_squares")
    prepared = read_prepared(tmp_path / "prepared")
    assert (found.gain, found.offset) == pytest.approx((2 * RATIO, OFFSET))  # day 2 has another ratio
    assert found.record.images == len(prepared.of("training")) == 3
    assert found.record.data == f"the 3 training fields of prepared (sha256 {prepared.sha256[:16]})"


def test_low_dose_alone_gives_no_scale(tmp_path: Path) -> None:
    movie = np.random.default_rng(0).poisson(3.0, (4, 32, 32)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "movie.tif", movie, photometric="minisblack")
    with pytest.raises(CannotCalibrate, match="got only the low dose"):
        rescaling_of_pairs(tmp_path / "movie.tif", halved, "least_squares")


def test_split_photons_come_out_at_their_own_dose() -> None:
    found = rescaling_of_split_photons(2.0)
    counts = np.arange(12.0).reshape(3, 4)
    np.testing.assert_allclose(found.gain * halved(counts) + found.offset, counts)
    assert found.record.method == "normalisation"
    assert found.record.r_squared is found.record.rms_error is None
