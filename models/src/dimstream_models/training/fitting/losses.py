"""The loss of the published code: root mean square error of both outputs plus an edge term."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def restoration_loss(
    outputs: tuple[Tensor, Tensor],
    target: Tensor,
    weight: Tensor,
    edge_weight: float,
    counted: Tensor | None = None,
) -> Tensor:
    """Return the summed loss of the coarse and the fine output (Ebrahimi 2023, Methods).

    Parameters
    ----------
    outputs, target : (B, 1, y, x) tensors
        Normalised predictions and the truth.
    weight : (B,) tensor
        Of each sample; see `shot_noise_weight`.
    edge_weight : float
        Of the same error on the 4-neighbour Laplacian.
    counted : (B, 1, y, x) tensor, optional
        1 where errors count, 0 where they do not; by default everywhere.
    """
    total = torch.zeros((), device=target.device)
    for output in outputs:
        error = output - target if counted is None else (output - target) * counted
        total = total + (weight * (_rms(error) + edge_weight * _rms(laplacian(error)))).mean()
    return total


def shot_noise_weight(target: Tensor) -> Tensor:
    """Return (B,) weights that let faint and bright samples count alike.

    Photon noise, and with it the smallest error that can be reached, grows with the square root of the
    photons; the loss of each sample is taken in units of that.
    """
    return 1 / torch.sqrt(target.mean(dim=(1, 2, 3)) + 0.01)


def laplacian(image: Tensor) -> Tensor:  # (B, 1, y, x)
    """Return the 4-neighbour Laplacian, without the border."""
    kernel = image.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    return functional.conv2d(image, kernel[None, None])


def _rms(error: Tensor) -> Tensor:  # (B, 1, y, x) -> (B,)
    return torch.sqrt(error.square().mean(dim=(1, 2, 3)) + 1e-6)
