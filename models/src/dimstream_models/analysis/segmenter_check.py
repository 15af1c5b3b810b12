"""The accuracy of segmenters on simulated frames with known labels, from two simulators, by dose.

None of these frames was used for training: the scenes of the first simulator have separate seeds, and the
second simulator shares nothing with it (`training.audit.independent_simulator`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial
from skimage.filters import threshold_otsu
from skimage.morphology import disk, opening
from tqdm import tqdm

from dimstream_models.analysis.edge_limits import EdgeBounds, best_threshold, edge_bounds, edge_pixels
from dimstream_models.analysis.effects import NOISE_FREE
from dimstream_models.analysis.labels import Labels, Mask, Structure, merged
from dimstream_models.analysis.segmentation import Segmenter
from dimstream_models.bundle.schema import Confined
from dimstream_models.segmenting.scores import Confusion
from dimstream_models.training.audit.independent_simulator import OtherScene
from dimstream_models.training.evaluation.restoring import Restore
from dimstream_models.training.simulation.er_labels import er_truth
from dimstream_models.training.simulation.er_scenes import Scene, expose

DOSES_PH: Final = (0.3, 1.0, 3.0, 10.0)
DARK_COUNTS: Final = 0.01
SIDE_PX: Final = 256
_STREAM: Final = 5_2026
_RESAMPLED: Final = 1000
BEST: Final = "best threshold"
"""The threshold that agrees best with the truth in each image: an upper bound for thresholds, not a
segmenter."""

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class LabelledScene:
    """A noise-free image, (H, W) float32, in which a tubule's peak is 1, and its labels, (H, W) uint8 of
    `Structure`."""

    light: NDArray[np.float32]
    labels: Labels


World = Callable[[Rng, int], LabelledScene]
"""Function that draws a scene with the given side, px."""


class Score(Confined):
    """Accuracy of a segmenter over scenes; each figure with the bounds of its 95 % interval.

    Parameters
    ----------
    dose : str
        Photons per pixel on a tubule before denoising, or ``noise-free``.
    er_iou : (float, float, float)
        Intersection over union of the ER over all pixels of all scenes, with lower and upper bound.
    split : (float, float, float)
        Balanced accuracy of tubule or sheet among pixels that are ER in both.
    recall : (float, float, float)
        The same over all pixels that are ER.
    off_edge : (float, float, float)
        Intersection over union of the ER, without the pixels on both sides of its true edge.
    """

    world: str
    dose: str
    segmenter: str
    scenes: int
    er_iou: tuple[float, float, float]
    split: tuple[float, float, float]
    recall: tuple[float, float, float]
    off_edge: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class _Found:
    """Result of a segmenter in one image: counts of all pixels, and of those that are not at the edge."""

    whole: Confusion
    off_edge: Confusion

    @classmethod
    def of(cls, true: Labels, found: Labels) -> _Found:
        off_edge = ~edge_pixels(true > 0)
        return cls(Confusion.of(true, found), Confusion.of(true[off_edge], found[off_edge]))


@dataclass(frozen=True)
class OtsuSegmenter:
    """The baseline for segmenters: Otsu's threshold; sheets are where a disc fits."""

    radius_px: int = 5

    def segment(self, image: NDArray[Any]) -> Labels:
        """Return the labels, (H, W) uint8 of `Structure`, of an image (H, W) of any unit."""
        values = ndimage.gaussian_filter(image.astype(np.float32), 0.7)
        if np.ptp(values) == 0:
            return np.zeros(image.shape, np.uint8)
        return split_by_disk(values > threshold_otsu(values), self.radius_px)


def split_by_disk(er: Mask, radius_px: int = 5) -> Labels:
    """Return labels (H, W) of a mask of the ER (H, W): sheets are where a disc fits."""
    sheets = opening(er, disk(radius_px))
    return np.asarray(er * np.uint8(Structure.TUBULE) + sheets * np.uint8(1), np.uint8)


def peripheral_er(rng: Rng, side_px: int) -> LabelledScene:
    """Return a scene of the simulator that the network was trained on."""
    scene = Scene.random(rng, (side_px, side_px), "er")
    time_s = float(rng.uniform(0, 300))
    return LabelledScene(scene.structure(time_s), merged(er_truth(scene, time_s).labels))


def other_simulator(rng: Rng, side_px: int) -> LabelledScene:
    """Return filaments and patches of membrane from the audit's simulator; filaments count as tubules.

    The width of a filament is its image's full width at half maximum. Where it is on a patch, it is a sheet.
    """
    filaments = OtherScene.random(rng, side_px, half_empty=False, sample="filaments")
    patches = OtherScene.random(rng, side_px, half_empty=False, sample="patches")
    both = replace(filaments, still=patches.still)
    both = replace(both, scale=1 / replace(both, scale=1.0).typical())
    margin = (len(both.still) - side_px) // 2
    sheets = both.still[margin:-margin, margin:-margin] > 0
    tubules = np.zeros_like(sheets)
    for matter in both.matter:
        places = matter.places + matter.paths[0][matter.owners]
        tubules |= _near(places, side_px, _half_width(both, matter.radius_px))
    labels = np.where(sheets, Structure.SHEET, np.where(tubules, Structure.TUBULE, 0))
    return LabelledScene(both.structure(0), labels.astype(np.uint8))


WORLDS: Final[Mapping[str, World]] = {"our simulator": peripheral_er, "other simulator": other_simulator}


def check_segmenters(
    restore: Restore, segmenters: Mapping[str, Segmenter], *, scenes: int, seed: int, side_px: int = SIDE_PX
) -> list[Score]:
    """Return the accuracy of segmenters with both simulators at every dose; progress is shown.

    Parameters
    ----------
    restore : function
        Function from counts (H, W) to denoised counts (H, W) float32.
    segmenters : mapping
        Segmenters by name.
    """
    scores = []
    for place, (world, draw) in enumerate(WORLDS.items()):
        found: dict[tuple[str, str], list[_Found]] = {}
        for number in tqdm(range(scenes), desc=world, unit="scene"):
            rng = _generator(seed, place, number)
            scene = draw(rng, side_px)
            for dose, image in _images(restore, scene.light, rng):
                labels = {name: merged(each.segment(image)) for name, each in segmenters.items()}
                labels[BEST] = split_by_disk(best_threshold(image, scene.labels > 0))
                for name, each in labels.items():
                    found.setdefault((dose, name), []).append(_Found.of(scene.labels, each))
        scores += [_score(world, dose, name, each) for (dose, name), each in found.items()]
    return scores


def check_edges(*, scenes: int, seed: int, side_px: int = SIDE_PX) -> list[EdgeBounds]:
    """Return how much pixels at the edge alone may lower the overlap, on the scenes of `check_segmenters`."""
    return [
        edge_bounds(
            world,
            [draw(_generator(seed, place, number), side_px).labels > 0 for number in range(scenes)],
        )
        for place, (world, draw) in enumerate(WORLDS.items())
    ]


def _generator(seed: int, place: int, number: int) -> Rng:
    return np.random.default_rng((seed, _STREAM, place, number))


def _images(
    restore: Restore, light: NDArray[np.float32], rng: Rng
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for dose in DOSES_PH:
        yield f"{dose:g}", restore(expose(light, dose=dose, dark_counts=DARK_COUNTS, rng=rng))
    yield NOISE_FREE, light


def _score(world: str, dose: str, segmenter: str, found: Sequence[_Found]) -> Score:
    whole = np.stack([each.whole.pixels for each in found])
    off_edge = np.stack([each.off_edge.pixels for each in found])
    draws = np.random.default_rng(0).integers(0, len(found), (_RESAMPLED, len(found)))

    def interval(
        figure: Callable[[Confusion], float], pixels: NDArray[np.int64] = whole
    ) -> tuple[float, float, float]:
        drawn = [figure(Confusion(pixels[draw].sum(axis=0))) for draw in draws]
        low, high = np.nanquantile(drawn, (0.025, 0.975))
        return figure(Confusion(pixels.sum(axis=0))), float(low), float(high)

    return Score(
        world=world,
        dose=dose,
        segmenter=segmenter,
        scenes=len(found),
        er_iou=interval(lambda each: each.er_overlap),
        split=interval(lambda each: each.split_accuracy),
        recall=interval(lambda each: each.recall),
        off_edge=interval(lambda each: each.er_overlap, off_edge),
    )


def scores_table(scores: Sequence[Score]) -> str:
    """Return scores as a Markdown table, each with its 95 % interval over scenes."""
    lines = [
        "| frames | photons | segmenter | ER, IoU | the same off the edge"
        " | tubule or sheet, where both say ER | of all ER pixels |",
        "|---|---|---|---|---|---|---|",
    ]
    for score in scores:
        figures = (
            f"{value:.3f} ({low:.3f} to {high:.3f})"
            for value, low, high in (score.er_iou, score.off_edge, score.split, score.recall)
        )
        lines.append(f"| {score.world} | {score.dose} | {score.segmenter} | {' | '.join(figures)} |")
    return "\n".join(lines)


def _near(places: NDArray[np.float64], side_px: int, distance: float) -> NDArray[np.bool_]:
    pixels = np.argwhere(np.ones((side_px, side_px), bool))
    nearest, _ = spatial.cKDTree(places).query(pixels, distance_upper_bound=distance)
    return np.asarray(np.isfinite(nearest).reshape(side_px, side_px))


def _half_width(scene: OtherScene, radius_px: float) -> float:
    """Return half the width at half maximum of the image of a straight line, px."""
    side = len(scene.still)
    line = np.zeros((side, side))
    line[side // 2] = 1
    line = ndimage.gaussian_filter(line, radius_px)
    profile = np.fft.irfft2(np.fft.rfft2(line) * scene.transfer, (side, side))[side // 2 :, side // 2]
    below = int(np.argmax(profile < profile[0] / 2))
    step = (profile[below - 1] - profile[0] / 2) / (profile[below - 1] - profile[below])
    return float(below - 1 + step)
