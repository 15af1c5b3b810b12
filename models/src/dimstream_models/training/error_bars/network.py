"""The second network of a bundle: from raw counts and prediction to the standard deviation of each pixel.

It has two small stacks of convolutions: one on means of 8 x 8 px (local brightness, amount of structure, fit
of the prediction to the photons), one at full resolution. The deviation is a factor times a base that behaves
like photon noise, so the same factor is valid for many doses.
"""

from __future__ import annotations

import io
import warnings
from itertools import pairwise
from typing import Final

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from dimstream_models.training.errors import ParityError
from dimstream_models.training.export.onnx_export import without_traces

STEP: Final = 8  # px, side of the coarse means
WIDTH: Final = 16
PARITY: Final = 1e-3  # largest difference between torch and ONNX Runtime, relative to the largest deviation
KNOTS: Final = (
    (-3.5, -2.5, -1.5, -0.75, 0.0, 1.0, 2.0, 3.0),  # logarithm of the predicted photons around a pixel
    (-1.0, 0.0, 0.7),  # logarithm of the pixel's own, relative to those around it
)
"""Knots of the table of factors; see `recalibrating`."""
_NEAR_PX: Final = 7  # side of the window of local means
_FLOOR: Final = 0.03  # smallest number of photons in a logarithm
_BASE: Final = 0.01  # photons; the base in empty places
_SLOPE: Final = 0.1  # slope of the LeakyReLUs
_LOG_FACTOR: Final = (-9.0, 4.0)  # bounds of the factor's logarithm
_OPSET: Final = 17


class ErrorBarNetwork(nn.Module):
    """Standard deviation of the denoising network's output.

    Parameters
    ----------
    scale, offset : float
        Photons of the raw frame are `scale` times that output plus `offset`.
    """

    def __init__(self, *, scale: float, offset: float) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset
        self.coarse_1 = _conv(4, WIDTH, 1)
        self.coarse_2 = _conv(WIDTH, WIDTH, 2)
        self.fine_1 = _conv(5 + WIDTH, WIDTH, 1)
        self.fine_2 = _conv(WIDTH, WIDTH, 2)
        self.fine_3 = _conv(WIDTH, WIDTH, 4)
        self.last = nn.Conv2d(WIDTH, 1, 1)
        self.table: Tensor
        self.register_buffer("table", torch.zeros(len(KNOTS[0]), len(KNOTS[1])))

    def forward(self, counts: Tensor, prediction: Tensor) -> Tensor:  # (B, 1, y, x) each
        """Return the standard deviations, (B, 1, y, x), in the unit of `prediction`.

        Parameters
        ----------
        counts : Tensor
            (B, 1, y, x) raw photons; sides are multiples of 8.
        prediction : Tensor
            (B, 1, y, x), the denoising network's output for them, before rescaling.
        """
        signed = prediction * self.scale + self.offset  # photons
        photons = torch.relu(signed)
        near_counts, near = _local_mean(counts), _local_mean(photons)
        coarse = self._coarse(counts, photons)
        fine = torch.cat(
            [
                _log(photons),
                torch.sqrt(counts + 0.375),
                _log(near_counts),
                _log(near),
                signed / torch.sqrt(near + _FLOOR),
                coarse,
            ],
            dim=1,
        )  # (B, 5 + WIDTH, y, x)
        fine = _active(self.fine_1(fine))
        fine = fine + _active(self.fine_2(fine))
        fine = fine + _active(self.fine_3(fine))
        factor = torch.exp(torch.clamp(self.last(fine), *_LOG_FACTOR) + self._recalibrated(photons, near))
        return factor * torch.sqrt(near + _BASE) / self.scale

    def nearest_knots(self, prediction: Tensor) -> tuple[Tensor, Tensor]:  # (B, 1, y, x)
        """Return the table's knots next to each pixel, each (B, 1, y, x) int64."""
        photons = torch.relu(prediction * self.scale + self.offset)
        figures = _figures(photons, _local_mean(photons))
        first, second = (
            torch.argmin((figure - torch.tensor(knots)[:, None, None]).abs(), dim=1, keepdim=True)
            for figure, knots in zip(figures, KNOTS, strict=True)
        )
        return first, second

    def _recalibrated(self, photons: Tensor, near: Tensor) -> Tensor:  # (B, 1, y, x)
        """Logarithm of the factor from the table, interpolated linearly between its knots."""
        around, own = (
            _hats(figure, knots) for figure, knots in zip(_figures(photons, near), KNOTS, strict=True)
        )
        by_own = functional.conv2d(around, self.table.T[:, :, None, None])  # (B, knots of own, y, x)
        return (by_own * own).sum(dim=1, keepdim=True)

    def _coarse(self, counts: Tensor, photons: Tensor) -> Tensor:  # (B, WIDTH, y, x)
        """Features from means of 8 x 8 px at full resolution: brightness, misfit and spread, (B, C, y, x)."""
        residual = (counts - photons) ** 2
        means = functional.avg_pool2d(torch.cat([photons, counts, residual, photons**2], dim=1), STEP)
        predicted, counted, misfit, square = torch.split(means, 1, dim=1)  # (B, 1, y / 8, x / 8) each
        spread = torch.relu(square - predicted**2) + 1e-3
        features = torch.cat(
            [
                _log(predicted),
                _log(counted),
                torch.log((misfit + _FLOOR) / (predicted + _FLOOR)),
                torch.log(spread / (predicted + _FLOOR)),
            ],
            dim=1,
        )
        features = _active(self.coarse_2(_active(self.coarse_1(features))))
        return functional.interpolate(features, scale_factor=STEP, mode="bilinear", align_corners=False)


def export_error_bar(network: ErrorBarNetwork) -> bytes:
    """Return the ONNX file of an error-bar network, for any sides divisible by 8.

    Raises
    ------
    ParityError
        When the results of ONNX Runtime differ from those of torch.
    """
    network = network.eval().cpu()
    names = ("counts", "prediction", "sd")
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, 32, 40), torch.zeros(1, 1, 32, 40)),
            buffer,  # type: ignore[arg-type]
            opset_version=_OPSET,
            input_names=list(names[:2]),
            output_names=[names[2]],
            dynamic_axes={name: {0: "b", 2: "y", 3: "x"} for name in names},
            dynamo=False,
        )
    content = without_traces(buffer.getvalue())
    _check_parity(network, content)
    return content


def _check_parity(network: ErrorBarNetwork, content: bytes) -> None:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 24, 40), (1, 1, 64, 16)):
        counts = rng.poisson(2.0, shape).astype(np.float32)
        prediction = (rng.gamma(2.0, 1.0, shape) / network.scale).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(counts), torch.from_numpy(prediction)).numpy()
        found = np.asarray(session.run(None, {"counts": counts, "prediction": prediction})[0])
        difference = float(np.abs(found - expected).max() / expected.max())
        if not difference <= PARITY:
            raise ParityError(
                f"expected ONNX Runtime within {PARITY:g} of torch for the error bars, got {difference:g}"
            )


def _conv(inputs: int, outputs: int, reach: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=reach, dilation=reach)


def _active(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, _SLOPE)


def _log(photons: Tensor) -> Tensor:
    return torch.log(photons + _FLOOR)


def _local_mean(image: Tensor) -> Tensor:  # (B, 1, y, x)
    return functional.avg_pool2d(image, _NEAR_PX, 1, _NEAR_PX // 2, count_include_pad=False)


def _figures(photons: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    around = _log(near)
    return around, _log(photons) - around


def _hats(figure: Tensor, knots: tuple[float, ...]) -> Tensor:  # (B, 1, y, x) -> (B, knots, y, x)
    """Weights of the knots: 1 at a knot, 0 at its neighbours, linear in between, constant beyond the ends."""
    held = torch.clamp(figure, knots[0], knots[-1])
    rises = [
        torch.clamp((held - low) / (high - low), 0, 1) for low, high in pairwise(knots)
    ]  # one for each gap
    ones = torch.ones_like(held)
    return torch.cat(
        [before - after for before, after in zip([ones, *rises], [*rises, 0 * ones], strict=True)], dim=1
    )
