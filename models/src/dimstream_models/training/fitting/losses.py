"""What is minimised: the published loss of both outputs, with its edge term and its penalty on kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dimstream_models.training.settings import LossSettings

EPSILON = 1e-6  # under the root, as published: its slope stays finite at no error
VALLEY_PX = 11  # odd; what is as narrow as this between bright structures is a valley
LEAST_VALLEY = 0.02  # of the brightest pixel: valleys in what is fainter do not count
BLOCK_PX = 16  # over which totals are held


def restoration_loss(
    outputs: tuple[Tensor, Tensor],
    truth: Tensor,
    settings: LossSettings,
    counted: Tensor | None = None,
    *,
    counts: Tensor | None = None,
) -> Tensor:
    """Return the summed error of the coarse and the fine output (Ebrahimi 2023, Methods).

    Parameters
    ----------
    outputs, truth : (B, 1, y, x) tensors
        Normalised predictions and the truth.
    settings : LossSettings
        Kind of error, weights of the same error on the 4-neighbour Laplacian and on block means, weight of
        each sample.
    counted : (B, 1, y, x) tensor, optional
        1 where errors count, 0 where they do not; by default everywhere.
    counts : (B, 1, y, x) tensor, optional
        What the network was shown, on the truth's scale; needed to weigh by counts.
    """
    weighing = counts if settings.weighted_by == "counts" and counts is not None else truth
    measure = _rms if settings.kind == "rms" else _mean_square
    weight = truth.new_ones(len(truth))
    if settings.shot_noise_weighted:
        weight = shot_noise_weight(weighing) if settings.kind == "rms" else shot_variance_weight(weighing)
    total = torch.zeros((), device=truth.device)
    emphasis = torch.sqrt(1 + settings.valley_weight * valleys(truth)) if settings.valley_weight else 1.0
    for output in outputs:
        error = output - truth if counted is None else (output - truth) * counted
        measured = measure(emphasis * error) + settings.edge_weight * measure(laplacian(error))
        if settings.total_weight:
            measured = measured + settings.total_weight * measure(block_means(error))
        total = total + (weight * measured).mean()
    return total


def kernel_penalty(network: nn.Module, weight: float) -> Tensor | float:
    """Return `weight` times half the sum of squared kernels: once, and never of biases.

    (The published code counts it once for each output, and biases too.)
    """
    if not weight:
        return 0.0
    return 0.5 * weight * torch.stack([p.square().sum() for p in network.parameters() if p.ndim > 1]).sum()


def shot_noise_weight(truth: Tensor) -> Tensor:
    """Return (B,) weights that let faint and bright samples count alike.

    Photon noise, and with it the smallest error that can be reached, grows with the square root of the
    photons; the loss of each sample is taken in units of that.
    """
    return 1 / torch.sqrt(truth.mean(dim=(1, 2, 3)) + 0.01)


def shot_variance_weight(truth: Tensor) -> Tensor:
    """Return (B,) weights of square errors, in units of the variance of photon noise; never above 400."""
    return 1 / (truth.mean(dim=(1, 2, 3)) + 0.0025)


def valleys(truth: Tensor) -> Tensor:  # (B, 1, y, x)
    """Return how deep each pixel of (B, 1, H, W) truths lies between brighter ones, 0 to 1, (B, 1, H, W).

    That is what a morphological closing would fill: 1 - truth / closing, where it is not faint.
    """
    reach = VALLEY_PX // 2
    widened = functional.max_pool2d(truth, VALLEY_PX, 1, reach)
    closing = -functional.max_pool2d(-widened, VALLEY_PX, 1, reach)
    floor = LEAST_VALLEY * truth.amax(dim=(1, 2, 3), keepdim=True) + 1e-6
    return (closing - truth).clamp(min=0) / (closing + floor)


def laplacian(image: Tensor) -> Tensor:  # (B, 1, y, x)
    """Return the 4-neighbour Laplacian of (B, 1, H, W) normalised counts, (B, 1, H - 2, W - 2)."""
    kernel = image.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    return functional.conv2d(image, kernel[None, None])


def block_means(image: Tensor) -> Tensor:  # (B, 1, y, x)
    """Return the means of (B, 1, H, W) values over blocks of 16 x 16 px, whole blocks only.

    Of a smaller image it is the mean over all of it.
    """
    return functional.avg_pool2d(image, min(BLOCK_PX, *image.shape[-2:]))


def _rms(error: Tensor) -> Tensor:  # (B, 1, y, x) -> (B,)
    return torch.sqrt(_mean_square(error) + EPSILON)


def _mean_square(error: Tensor) -> Tensor:  # (B, 1, y, x) -> (B,)
    return error.square().mean(dim=(1, 2, 3))
