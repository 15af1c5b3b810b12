"""The loss: the published loss of both outputs, with its edge term and its kernel penalty."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dimstream_models.training.settings import LossSettings

EPSILON = 1e-6  # under the root, as published, so that its gradient is finite without an error
VALLEY_PX = 11  # odd; a dark region between bright structures, at most this wide, is a valley
LEAST_VALLEY = 0.02  # share of the brightest pixel; valleys between fainter structures are ignored
BLOCK_PX = 16  # side of the blocks whose totals are compared


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
        1 where errors count, 0 elsewhere; by default they count everywhere.
    counts : (B, 1, y, x) tensor, optional
        The network's input, on the truth's scale; required for weights by counts.
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
    """Return `weight` times half the sum of squared kernels, without biases.

    (The published code adds it once for each output, and includes biases.)
    """
    if not weight:
        return 0.0
    return 0.5 * weight * torch.stack([p.square().sum() for p in network.parameters() if p.ndim > 1]).sum()


def shot_noise_weight(truth: Tensor) -> Tensor:
    """Return weights (B,) with which faint and bright samples have the same influence.

    Photon noise, and so the smallest possible error, grows with the square root of the photons. The loss of
    each sample is divided by this.
    """
    return 1 / torch.sqrt(truth.mean(dim=(1, 2, 3)) + 0.01)


def shot_variance_weight(truth: Tensor) -> Tensor:
    """Return weights (B,) of square errors: 1 / the variance of photon noise, at most 400."""
    return 1 / (truth.mean(dim=(1, 2, 3)) + 0.0025)


def valleys(truth: Tensor) -> Tensor:  # (B, 1, y, x)
    """Return how far each pixel of truths (B, 1, H, W) is below its surroundings, 0 to 1, (B, 1, H, W).

    This is what a morphological closing would fill: 1 - truth / closing, where the closing is not faint.
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
    """Return the means of values (B, 1, H, W) over whole blocks of 16 x 16 px, (B, 1, H // 16, W // 16).

    For a smaller image, this is the mean over the whole image.
    """
    return functional.avg_pool2d(image, min(BLOCK_PX, *image.shape[-2:]))


def _rms(error: Tensor) -> Tensor:  # (B, 1, y, x) -> (B,)
    return torch.sqrt(_mean_square(error) + EPSILON)


def _mean_square(error: Tensor) -> Tensor:  # (B, 1, y, x) -> (B,)
    return error.square().mean(dim=(1, 2, 3))
