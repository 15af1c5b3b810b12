"""A simulated experiment: the files that a lab would bring."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from dimstream_models.training.cli import main


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "experiment"
    sizes = ["--days", "2", "--fields", "3", "--side", "96", "--dose", "3"]
    assert main(["simulate", "--out", str(folder), *sizes]) == 0
    return folder


def test_every_day_has_its_pairs(experiment: Path) -> None:
    for day in ("day-1", "day-2"):
        for kind in ("low", "high"):
            names = sorted(path.name for path in (experiment / day / kind).iterdir())
            assert names == ["field-00.tif", "field-01.tif", "field-02.tif"]


def test_high_dose_is_seventy_times_low_dose_of_the_same_field(experiment: Path) -> None:
    for day in ("day-1", "day-2"):
        for field in range(3):
            low, high = (
                tifffile.imread(experiment / day / kind / f"field-{field:02d}.tif").astype(float)
                for kind in ("low", "high")
            )
            assert high.mean() / (low.mean() - 0.01) == pytest.approx(70, rel=0.1)
            assert np.corrcoef(low.ravel(), high.ravel())[0, 1] > 0.3


def test_no_two_fields_are_alike(experiment: Path) -> None:
    images = [tifffile.imread(path).ravel().astype(float) for path in sorted(experiment.glob("*/high/*.tif"))]
    alike = np.corrcoef(images) - np.eye(len(images))
    assert np.abs(alike).max() < 0.5


def test_movies_and_pixel_size_are_there(experiment: Path) -> None:
    signal, dark = (tifffile.imread(experiment / f"{kind}.tif") for kind in ("signal", "dark"))
    assert signal.shape == dark.shape == (24, 96, 96)
    assert dark.mean() == pytest.approx(0.01, rel=0.1)
    with tifffile.TiffFile(experiment / "day-1" / "low" / "field-00.tif") as file:
        assert 'PhysicalSizeX="0.02"' in (file.ome_metadata or "")


def test_what_exists_is_not_overwritten(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--out", str(experiment)]) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert main(["simulate", "--out", str(experiment / "new"), "--days", "0"]) == 2
    assert "at least one day" in capsys.readouterr().err


@pytest.mark.parametrize("dose", ["0", "-1", "nan", "inf", "1e30"])
def test_a_dose_that_no_source_has_is_refused(
    dose: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--out", str(tmp_path / "experiment"), "--dose", dose]) == 2
    assert "a dose above 0 and up to 1e+06" in capsys.readouterr().err


def test_nothing_is_there_before_all_of_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between the pairs and the movies."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dimstream_models.training.simulation.experiment.simulate_movie", stop)
    arguments = ["--days", "1", "--fields", "1", "--side", "64"]
    assert main(["simulate", "--out", str(tmp_path / "experiment"), *arguments]) == 130
    assert not list(tmp_path.iterdir())
