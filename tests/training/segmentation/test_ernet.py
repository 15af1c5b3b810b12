"""The recipe for ERnet's weights, on a clone that stands in for it: its class, its checkpoint, its faults."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dimstream_models.analysis.labels import Structure
from dimstream_models.analysis.network_segmenter import network_segmenter
from dimstream_models.training.cli import main
from dimstream_models.training.segmentation.ernet import ARCHITECTURES, CLASSES

STAND_IN = '''
import torch


class SwinIR_RCAB(torch.nn.Module):
    """Classes by brightness; of ERnet it has the name, the arguments and the table's shape."""

    def __init__(self, opt, img_size, in_chans, upscale, use_checkpoint, vis):
        super().__init__()
        assert (opt.task, img_size, in_chans, upscale) == ("segment", 128, 1, 1)
        assert (use_checkpoint, vis) == (False, False)
        self.relative_position_bias_table = torch.nn.Parameter(torch.zeros(9, 8))
        self.lines = torch.nn.Conv2d(1, 4, 1)

    def forward(self, x):
        return self.lines(x) + self.relative_position_bias_table.sum()
'''
STATE = {
    "relative_position_bias_table": torch.zeros(9, 8),
    "lines.weight": torch.tensor([0.0, 0.0, 20.0, 40.0]).reshape(4, 1, 1, 1),
    "lines.bias": torch.tensor([0.0, -99.0, -8.0, -22.0]),  # tubules from 0.4 on, sheets from 0.7
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    arch = tmp_path / "clone" / ARCHITECTURES[1]
    arch.parent.mkdir(parents=True)
    arch.write_text(STAND_IN)
    torch.save({"state_dict": STATE}, tmp_path / "weights.pth")
    return tmp_path / "clone"


def run(clone: Path, *, weights: str = "weights.pth") -> int:
    folder = clone.parent
    words = ["import-ernet", str(clone), "--weights", str(folder / weights), "--out", str(folder / "b")]
    return main([*words, "--pixel-size-nm", "40"])


@pytest.mark.slow
def test_its_network_labels_as_a_bundle(clone: Path) -> None:
    assert run(clone) == 0
    segmenter = network_segmenter(clone.parent / "b")
    image = np.zeros((51, 67), np.float32)  # odd sides, which ERnet itself cannot take
    image[10:20], image[30:40] = 60, 100
    labels = segmenter.segment(image)
    assert (labels[10:20] == Structure.TUBULE).all()
    assert (labels[30:40] == Structure.SHEET).all()
    assert not labels[45:].any()
    assert len(CLASSES) == len(Structure)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"lines.weight": torch.zeros(3, 1, 1, 1)},
            "lines.weight: expected shape (4, 1, 1, 1)",
        ),
        ({"more": torch.zeros(1)}, "more: expected shape None, got (1,)"),
    ],
)
def test_weights_of_another_network_are_refused(
    clone: Path, changed: dict[str, torch.Tensor], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": {**STATE, **changed}}, clone.parent / "other.pth")
    assert run(clone, weights="other.pth") == 2
    assert said in capsys.readouterr().err
    assert not (clone.parent / "b").exists()


def test_a_folder_that_is_no_clone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == 2
    assert "expected a clone of ERnet v2" in capsys.readouterr().err


def test_nothing_of_ours_imports_it_or_is_imported_in_the_clone() -> None:
    from dimstream_models.training.segmentation import ernet_in_clone

    text = Path(ernet_in_clone.__file__).read_text()
    assert "import dimstream" not in text
    assert "from dimstream" not in text
