"""LPIPS with random weights against the same arithmetic in numpy, and its refusals of other weights."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics.lpips import Lpips, WeightFile

Floats = NDArray[np.float64]
# torchvision's VGG16, written down a second time: number of each convolution and its channels
LAYERS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512}
LAYERS |= {24: 512, 26: 512, 28: 512}
LAST_OF_STAGE = (2, 7, 14, 21, 28)


@pytest.fixture(scope="module")
def trunk() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    state, before = {"classifier.0.bias": torch.zeros(3)}, 3
    for number, channels in LAYERS.items():
        weight = torch.randn(channels, before, 3, 3, generator=rng)
        state[f"features.{number}.weight"] = weight * (2 / (9 * before)) ** 0.5
        state[f"features.{number}.bias"] = 0.1 * torch.randn(channels, generator=rng)
        before = channels
    return state


@pytest.fixture(scope="module")
def heads() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    widths = [LAYERS[number] for number in LAST_OF_STAGE]
    return {
        f"lin{index}.model.1.weight": torch.rand(1, width, 1, 1, generator=rng)
        for index, width in enumerate(widths)
    }


@pytest.fixture(scope="module")
def lpips(
    trunk: dict[str, Tensor], heads: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Lpips:
    folder = tmp_path_factory.mktemp("lpips")
    return Lpips(saved(trunk, folder / "trunk.pth"), saved(heads, folder / "heads.pth"))


@pytest.mark.parametrize("shape", [(16, 16), (35, 50)])
def test_the_distance_is_that_of_numpy(
    shape: tuple[int, int], lpips: Lpips, trunk: dict[str, Tensor], heads: dict[str, Tensor]
) -> None:
    rng = np.random.default_rng(2)
    prediction, truth = rng.poisson(5.0, shape), rng.poisson(9.0, shape).astype(np.uint16)
    features = [in_numpy(image / 30, trunk) for image in (prediction, truth)]
    expected = sum(
        float((head.numpy()[0] * (unit(a) - unit(b)) ** 2).sum(axis=0).mean())
        for head, a, b in zip(heads.values(), *features, strict=True)
    )
    single_precision = 1e-4  # of 13 convolutions in a row
    assert lpips(prediction, truth, data_range=30) == pytest.approx(expected, rel=single_precision)


def test_an_image_is_at_no_distance_from_itself(lpips: Lpips) -> None:
    image = np.random.default_rng(3).poisson(5.0, (32, 40))
    assert lpips(image, image, data_range=20) == 0
    assert lpips(image, image + 1, data_range=20) > 0


def test_distance_grows_with_the_difference(lpips: Lpips) -> None:
    rng = np.random.default_rng(4)
    image, noise = rng.poisson(5.0, (32, 32)), rng.normal(size=(32, 32))
    found = [lpips(image + strength * noise, image, data_range=20) for strength in (0.5, 2, 8)]
    assert found == sorted(found)


REFUSED_IMAGES = {
    "one shape": (np.zeros((16, 16)), np.zeros((16, 17)), 1.0),
    "at least 16 px": (np.zeros((15, 16)), np.zeros((15, 16)), 1.0),
    "finite": (np.full((16, 16), np.nan), np.zeros((16, 16)), 1.0),
    "data range above 0": (np.zeros((16, 16)), np.zeros((16, 16)), 0.0),
}


@pytest.mark.parametrize("message", REFUSED_IMAGES)
def test_refuses_images(message: str, lpips: Lpips) -> None:
    prediction, truth, data_range = REFUSED_IMAGES[message]
    with pytest.raises(CannotEvaluate, match=message):
        lpips(prediction, truth, data_range=data_range)


def test_refuses_a_file_with_another_hash(
    trunk: dict[str, Tensor], heads: dict[str, Tensor], tmp_path: Path
) -> None:
    head_file = saved(heads, tmp_path / "heads.pth")
    with pytest.raises(CannotEvaluate, match="expected sha256 0000"):
        Lpips(saved(trunk, tmp_path / "trunk.pth"), WeightFile(head_file.path, "0" * 64))


def test_refuses_a_tensor_of_another_shape(
    trunk: dict[str, Tensor], heads: dict[str, Tensor], tmp_path: Path
) -> None:
    name = "lin3.model.1.weight"
    wrong = saved({**heads, name: torch.zeros(1, 256, 1, 1)}, tmp_path / "heads.pth")
    with pytest.raises(CannotEvaluate, match=rf"{name} of shape \(1, 512, 1, 1\) .* got \(1, 256, 1, 1\)"):
        Lpips(saved(trunk, tmp_path / "trunk.pth"), wrong)


def test_refuses_weights_in_each_others_place(heads: dict[str, Tensor], tmp_path: Path) -> None:
    file = saved(heads, tmp_path / "heads.pth")
    with pytest.raises(CannotEvaluate, match=r"features\.0\.weight .* got none"):
        Lpips(file, file)


NO_STATE_DICTS = {"text": b"no weights at all", "nothing": b""}


@pytest.mark.parametrize("name", NO_STATE_DICTS)
def test_refuses_files_that_hold_no_weights(name: str, tmp_path: Path) -> None:
    path = tmp_path / "trunk.pth"
    path.write_bytes(NO_STATE_DICTS[name])
    file = WeightFile(path, hashlib.sha256(NO_STATE_DICTS[name]).hexdigest())
    with pytest.raises(CannotEvaluate, match="state dict"):
        Lpips(file, file)


class Dangerous:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path("ran"),)


def test_runs_no_code_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = saved({"features.0.weight": Dangerous()}, tmp_path / "trunk.pth")
    with pytest.raises(CannotEvaluate, match="state dict"):
        Lpips(file, file)
    assert not (tmp_path / "ran").exists()


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    file = WeightFile(tmp_path / "none.pth", "0" * 64)
    with pytest.raises(CannotEvaluate, match="expected weights at"):
        Lpips(file, file)


def saved(state: object, path: Path) -> WeightFile:
    torch.save(state, path)
    return WeightFile(path, hashlib.sha256(path.read_bytes()).hexdigest().upper())


def in_numpy(image: Floats, trunk: dict[str, Tensor]) -> list[Floats]:
    """Return the features of the five stages, (C, H, W) each, of an image on a scale from 0 to 1."""
    mean, spread = np.array([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])[:, :, None, None]
    features = (2 * image - 1 - mean) / spread
    stages = []
    for number in LAYERS:
        if number in (5, 10, 17, 24):
            height, width = (side // 2 * 2 for side in features.shape[1:])
            halves = features[:, :height, :width].reshape(-1, height // 2, 2, width // 2, 2)
            features = halves.max(axis=(2, 4))
        weight, bias = (trunk[f"features.{number}.{part}"].numpy() for part in ("weight", "bias"))
        padded = np.pad(features, ((0, 0), (1, 1), (1, 1)))
        windows = sliding_window_view(padded, (3, 3), axis=(1, 2))  # (C, H, W, 3, 3)
        convolved = np.tensordot(weight.astype(float), windows, axes=((1, 2, 3), (0, 3, 4)))
        features = np.maximum(convolved + bias[:, None, None], 0)
        if number in LAST_OF_STAGE:
            stages.append(features)
    return stages


def unit(features: Floats) -> Floats:
    return np.asarray(features / (np.sqrt((features**2).sum(axis=0)) + 1e-10))
