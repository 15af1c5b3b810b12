"""Resolution of a single image by decorrelation analysis.

Source: Descloux, Grußmayer, Radenovic 2019, doi 10.1038/s41592-019-0515-7. The image's Fourier transform is
correlated with its own phases inside a disc of growing radius. Beyond the maximum of that correlation, noise
outweighs structure. High-pass filters move the maximum outward, and the outermost maximum is the resolution.

As phases have unit length, the correlation needs only amplitudes, and filters and discs depend only on the
radius. So a curve is one weighted histogram of the half-plane of a real transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from dimstream_models.training.metrics.images import Floats, Image, as_plane

RADII: Final = 50
FILTERS: Final = 10
APODISATION_PX: Final = 20
MIN_PEAK: Final = 0.05  # lower peaks are ignored (the authors' program)
MIN_FALL: Final = 0.0005  # least fall of the correlation after a peak (the authors' program)
SHARPEST: Final = 0.15  # range of the high-pass filters' widths, in units of the reciprocal Nyquist frequency
REACH: Final = 0.4  # range of the second pass beyond the first one's outermost peak
MIN_CUT_OFF: Final = 1.5 / (RADII - 1)  # a peak within the innermost radius is only the mean brightness
NO_FILTER: Final = np.inf  # width of a high-pass filter that passes everything


@dataclass(frozen=True)
class Decorrelation:
    """Result of a decorrelation analysis; all None for a constant image.

    Parameters
    ----------
    resolution_px : float or None
        Smallest period that the image resolves, px; None when only the mean exceeds the noise.
    kc_max : float or None
        Cut-off frequency as a share of the Nyquist frequency; the resolution is 2 px divided by it.
    a0 : float or None
        Height of the unfiltered curve's peak, 0 to 1; it rises with the signal-to-noise ratio.
    """

    resolution_px: float | None
    kc_max: float | None
    a0: float | None


def decorrelation(image: Image) -> Decorrelation:
    """Return the resolution of an image by the authors' procedure: 50 radii, 10 filters, two passes.

    For a region of interest, pass the region: `image[rows, columns]`. Below about 100 px a side, random peaks
    of pure noise may count as structure.

    Parameters
    ----------
    image : (H, W)
        In any unit; the edges are faded to the mean over 20 px.

    Raises
    ------
    CannotEvaluate
        When it is not a plane, a side is shorter than 41 px, or pixels are not finite.
    """
    pixels = as_plane(image, min_side=2 * APODISATION_PX + 1)
    if np.ptp(pixels) == 0:
        return Decorrelation(None, None, None)
    spectrum = _Spectrum.of(_apodise(pixels))
    a0, peaks = _two_passes(spectrum, longest_side=max(pixels.shape), first_side=pixels.shape[0])
    kc_max = max((radius for radius, height in peaks if height >= MIN_PEAK), default=0.0)
    return Decorrelation(2 / kc_max if kc_max > MIN_CUT_OFF else None, kc_max, a0)


@dataclass(frozen=True)
class _Spectrum:
    """Amplitudes inside the Nyquist disc, each (N,); `copies` accounts for the mirrored half of the plane."""

    amplitude: Floats
    radius: Floats  # 1 is the Nyquist frequency
    copies: Floats

    @classmethod
    def of(cls, image: Floats) -> _Spectrum:
        height, width = (side - 1 + side % 2 for side in image.shape)  # odd: one sample at frequency 0
        amplitude = np.abs(fft.rfft2(image[:height, :width]))  # (height, (width + 1) / 2)
        y = fft.fftfreq(height, 1 / height) / ((height - 1) / 2)
        x = np.arange(amplitude.shape[1]) / ((width - 1) / 2)
        squared = y[:, None] ** 2 + x**2
        copies = np.broadcast_to(np.where(x == 0, 1.0, 2.0), amplitude.shape)
        inside = squared < 1
        return cls(amplitude[inside], np.sqrt(squared[inside]), copies[inside])

    def bins(self, radii: Floats) -> _Bins:
        index = np.searchsorted(radii, self.radius, side="right")  # the disc within radii[k] has bins 0..k
        counted = np.bincount(index, self.copies * (self.amplitude > 0), len(radii) + 1)
        return _Bins(radii, index, np.cumsum(counted[: len(radii)]))

    def curve(self, bins: _Bins, width: float) -> Floats:
        """Return the correlation with the phases inside each radius, (radii,), in whole thousandths as the
        authors do."""
        filtered = self.amplitude
        if width < NO_FILTER:
            filtered = filtered * -np.expm1(-2 * width**2 * self.radius**2)
        weighted = filtered * self.copies
        total = np.sqrt(np.vdot(weighted, filtered))
        inside = np.cumsum(np.bincount(bins.index, weighted, len(bins.radii) + 1)[: len(bins.radii)])
        norm = total * np.sqrt(bins.counted)
        correlation = np.divide(inside, norm, out=np.zeros_like(inside), where=norm > 0)
        return np.asarray(np.floor(1000 * correlation) / 1000)


@dataclass(frozen=True)
class _Bins:
    radii: Floats
    index: NDArray[np.intp]  # (N,) which ring each frequency lies in
    counted: Floats  # (R,) frequencies inside each radius


Peak = tuple[float, float]  # radius, height


def _two_passes(spectrum: _Spectrum, *, longest_side: int, first_side: int) -> tuple[float, list[Peak]]:
    bins = spectrum.bins(np.linspace(0, 1, RADII))
    unfiltered = _peak(spectrum, bins, NO_FILTER)
    strongest = 2 / unfiltered[0] if unfiltered[0] else longest_side / 2
    widths = np.concatenate([[first_side / 4], np.geomspace(strongest, SHARPEST, FILTERS)])
    first = [unfiltered, *(_peak(spectrum, bins, width) for width in widths)]
    bins, widths = _refined(spectrum, first, bins.radii, np.concatenate([[first_side], widths]))
    second = [_peak(spectrum, bins, width) for width in widths]
    # The authors' second pass overwrites the first pass's last peak; values agree only if it is left out.
    return unfiltered[1], first[:-1] + second


def _refined(spectrum: _Spectrum, peaks: list[Peak], radii: Floats, widths: Floats) -> tuple[_Bins, Floats]:
    """Return finer radii around the outermost peak, and filters between the one of this peak and the next
    sharper one."""
    found = [radius for radius, _ in peaks]
    outermost = max(found)
    last = max(index for index, radius in enumerate(found) if radius == outermost)
    blunter = min(last, len(widths) - 2)
    start = max(0.0, outermost - (radii[1] - radii[0]))
    finer = np.linspace(start, min(1.0, outermost + REACH), RADII)
    return spectrum.bins(finer), np.geomspace(widths[blunter], widths[blunter + 1], FILTERS)


def _peak(spectrum: _Spectrum, bins: _Bins, width: float) -> Peak:
    """Return the outermost maximum after which a curve falls again, or its start."""
    curve = spectrum.curve(bins, width)
    for end in range(len(curve), 1, -1):
        top = int(np.argmax(curve[:end]))
        if top == 0:
            break
        if top < end - 1 and curve[top] - curve[top:end].min() >= MIN_FALL:
            return float(bins.radii[top]), float(curve[top])
    return float(bins.radii[0]), float(curve[0])


def _apodise(image: Floats) -> Floats:
    """Return the image (H, W) with its edges faded to its mean."""
    rows, columns = (_fade(side) for side in image.shape)
    mean = image.mean()
    return np.asarray((image - mean) * np.outer(rows, columns) + mean)


def _fade(side: int) -> Floats:
    """Return weights (side,): 1 in the middle, falling to 0 at both ends as half a period of a sine."""
    from_middle = np.abs(np.linspace(-side / 2, side / 2, side))
    edge = from_middle > side / 2 - APODISATION_PX
    outward = from_middle[edge]
    share = (outward.max() - outward) / np.ptp(outward)  # 0 at the ends
    fade = np.ones(side)
    fade[edge] = (1 - np.cos(np.pi * share)) / 2
    return fade
