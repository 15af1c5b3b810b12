"""The loss, against the same written plainly in numpy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.training.fitting.losses import (
    VALLEY_PX,
    kernel_penalty,
    laplacian,
    restoration_loss,
    shot_noise_weight,
    valleys,
)
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.settings import LossSettings

Floats = NDArray[np.float64]
PLAIN = LossSettings(edge_weight=0.0)


def edges(image: Floats) -> Floats:
    """The 4-neighbour Laplacian of (y, x), pixel by pixel, without the border."""
    height, width = image.shape
    found = np.zeros((height - 2, width - 2))
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            around = image[y - 1, x] + image[y + 1, x] + image[y, x - 1] + image[y, x + 1]
            found[y - 1, x - 1] = around - 4 * image[y, x]
    return found


def plain_loss(outputs: list[Floats], truth: Floats, settings: LossSettings) -> float:
    """The published loss, image by image."""
    total = 0.0
    for output in outputs:
        for predicted, wanted in zip(output[:, 0], truth[:, 0], strict=True):
            errors = []
            for difference in (predicted - wanted, edges(predicted - wanted)):
                square = np.linalg.norm(difference) ** 2 / difference.size
                errors.append(np.sqrt(square + 1e-6) if settings.kind == "rms" else square)
            weight = 1.0
            if settings.shot_noise_weighted:
                rms = settings.kind == "rms"
                weight = 1 / np.sqrt(wanted.mean() + 0.01) if rms else 1 / (wanted.mean() + 0.0025)
            total += weight * (errors[0] + settings.edge_weight * errors[1]) / len(truth)
    return total


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("edge_weight", [0.0, 0.05])
@pytest.mark.parametrize("kind", ["rms", "mse"])
def test_the_loss_is_the_published_one_on_both_outputs(kind: str, edge_weight: float, weighted: bool) -> None:
    settings = LossSettings.model_validate(
        {"kind": kind, "edge_weight": edge_weight, "shot_noise_weighted": weighted}
    )
    coarse, fine, truth = np.random.default_rng(0).uniform(0, 2, size=(3, 2, 1, 8, 9))
    loss = restoration_loss((torch.tensor(coarse), torch.tensor(fine)), torch.tensor(truth), settings)
    assert float(loss) == pytest.approx(plain_loss([coarse, fine], truth, settings), rel=1e-12)


def test_what_does_not_count_does_not_change_the_loss() -> None:
    truth = torch.zeros(1, 1, 8, 8)
    wrong = torch.zeros(1, 1, 8, 8)
    wrong[..., 3, 4] = 100.0
    clean = restoration_loss((truth, truth), truth, LossSettings())
    assert torch.equal(restoration_loss((wrong, wrong), truth, LossSettings(), (wrong == 0).float()), clean)
    assert restoration_loss((wrong, wrong), truth, LossSettings()) > clean


def test_totals_weigh_as_the_plain_means_of_blocks_say() -> None:
    coarse, fine, truth = np.random.default_rng(0).uniform(0, 2, size=(3, 2, 1, 40, 33))
    tensors = (torch.tensor(coarse), torch.tensor(fine)), torch.tensor(truth)
    without, weighed = (
        float(restoration_loss(*tensors, PLAIN.model_copy(update={"total_weight": w}))) for w in (0.0, 0.5)
    )
    means = 0.0
    for output in (coarse, fine):
        for error in (output - truth)[:, 0]:
            blocks = [error[y : y + 16, x : x + 16].mean() for y in (0, 16) for x in (0, 16)]
            means += np.sqrt(np.mean(np.square(blocks)) + 1e-6) / len(truth)
    assert weighed - without == pytest.approx(0.5 * means, rel=1e-9)


def test_weights_by_counts_do_not_hang_on_the_truth() -> None:
    settings = PLAIN.model_copy(update={"shot_noise_weighted": True, "weighted_by": "counts"})
    coarse, fine, truth, counts = torch.tensor(np.random.default_rng(0).uniform(0, 2, size=(4, 2, 1, 16, 16)))
    loss = restoration_loss((coarse, fine), truth, settings, counts=counts)
    by_hand = 0.0
    for output in (coarse, fine):
        rms = torch.sqrt((output - truth).square().mean(dim=(1, 2, 3)) + 1e-6)
        by_hand += float((rms / torch.sqrt(counts.mean(dim=(1, 2, 3)) + 0.01)).mean())
    assert float(loss) == pytest.approx(by_hand, rel=1e-12)
    other = settings.model_copy(update={"weighted_by": "truth"})
    assert float(restoration_loss((coarse, fine), truth, other, counts=counts)) != pytest.approx(by_hand)


def closing(image: Floats, side: int) -> Floats:
    """What is left of an image once every dark place is filled into which no square of `side` px fits."""
    return np.asarray(ndimage.grey_closing(image, (side, side), mode="nearest"))


def test_valleys_are_what_a_closing_fills() -> None:
    truth = np.random.default_rng(0).uniform(0, 2, size=(40, 50))
    inner = (slice(11, -11),) * 2  # at the border the padding takes part
    filled = closing(truth, VALLEY_PX)
    expected = (filled - truth) / (filled + 0.02 * truth.max() + 1e-6)
    found = valleys(torch.tensor(truth)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(found[inner], expected[inner], rtol=1e-9)
    assert found.min() >= 0
    assert found.max() < 1


def test_gaps_and_the_space_between_dots_weigh_more_and_slopes_do_not() -> None:
    line = np.zeros((40, 60))
    line[20, 5:55] = 1
    line[20, 28:33] = 0
    blurred = ndimage.gaussian_filter(line, 1.5)
    found = valleys(torch.tensor(blurred)[None, None])[0, 0].numpy()
    assert found[20, 30] > 0.7
    assert found[20, 15] < 0.05
    assert found[24, 15] < 0.05
    settings = PLAIN.model_copy(update={"kind": "mse", "valley_weight": 4.0})
    truth = torch.tensor(blurred)[None, None]
    error = torch.zeros_like(truth)
    error[..., 20, 30] = 0.5
    loss = float(restoration_loss((truth + error, truth), truth, settings))
    plain = float(restoration_loss((truth + error, truth), truth, PLAIN.model_copy(update={"kind": "mse"})))
    assert loss == pytest.approx((1 + 4 * found[20, 30]) * plain)


def test_no_error_has_a_finite_slope() -> None:
    output = torch.zeros(1, 1, 8, 8, requires_grad=True)
    restoration_loss((output, output), torch.zeros(1, 1, 8, 8), PLAIN).backward()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()


def test_the_penalty_is_half_the_squared_kernels_once_and_no_bias() -> None:
    network = UNetRCAN(filters=(2, 3), filters_cab=2, num_rg=1, num_cab=1, kernel=3)
    squares = {name: float((p.detach().double() ** 2).sum()) for name, p in network.named_parameters()}
    expected = 0.5 * 0.01 * sum(value for name, value in squares.items() if name.endswith("weight"))
    assert float(torch.as_tensor(kernel_penalty(network, 0.01)).detach()) == pytest.approx(expected, rel=1e-5)
    assert kernel_penalty(network, 0.0) == 0.0


def test_laplacian_and_weight_at_known_values() -> None:
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    assert torch.allclose(laplacian((x**2 + y**2)[None, None]), torch.full((1, 1, 3, 4), 4.0))
    assert shot_noise_weight(torch.full((2, 1, 4, 4), 0.24)).tolist() == pytest.approx([2.0, 2.0])
