"""What an export needs from the training data: simulated scenes, prepared pairs or movies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from dimstream_models.training.adapting.movie_thresholds import threshold_of_movies
from dimstream_models.training.adapting.stored_movies import Stored, read_stored
from dimstream_models.training.calibration.rescaling import Rescaling
from dimstream_models.training.calibration.simulated import (
    example_pairs,
    rescaling_of_scenes,
    threshold_of_scenes,
)
from dimstream_models.training.calibration.threshold import FlagThresholds
from dimstream_models.training.calibration.training_pairs import (
    rescaling_of_pairs,
    rescaling_of_split_photons,
)
from dimstream_models.training.errors import CannotCalibrate, InvalidPrepared
from dimstream_models.training.evaluation.compare import compare
from dimstream_models.training.evaluation.filters import TUNED_ON, Example, evenly
from dimstream_models.training.evaluation.references import Yardstick, of_movie
from dimstream_models.training.export.measured_quality import (
    Restore,
    photometry_figures,
    split_figures,
    validation_figures,
)
from dimstream_models.training.export.sample_movie import Movie, simulate_sample, write_sample
from dimstream_models.training.fitting.record import RunRecord
from dimstream_models.training.normalisation import FixedScale, build_truth_normaliser
from dimstream_models.training.pairs.pair_reader import Pair, read_pairs
from dimstream_models.training.pairs.prepared import Prepared, PreparedField, Role, read_prepared
from dimstream_models.training.prediction import Denoise
from dimstream_models.training.settings import MoviesSettings, PairsSettings, Recipe, SimulationSettings
from dimstream_models.training.simulation.er_scenes import PIXEL_SIZE_NM

DECISIVE: Final = ("set_aside", "next_frame")  # yardsticks that do not reward blur
DECIDING: Final = 12  # frames of a movie on which figures are measured
SCENES: Final = 12  # simulated validation fields on which figures are measured


class TrainingData(Protocol):
    """The data on which a network was trained."""

    @property
    def pixel_size_nm(self) -> float | None:
        """Side of a pixel, nm."""

    @property
    def dose_photons(self) -> tuple[float, float] | None:
        """Lowest and highest dose, photons per pixel on a structure; None if unknown."""

    def rescaling(self, denoise: Denoise) -> Rescaling:
        """Return scale and offset, from training images only."""

    def threshold(self, denoise: Denoise) -> FlagThresholds | None:
        """Return the thresholds from these data; None if they need recorded movies."""

    def example(self) -> Pair:
        """Return a field of view to show."""

    def figures(self, restore: Restore) -> dict[str, float]:
        """Return figures of merit."""

    def attachments(self, folder: Path) -> dict[str, Path]:
        """Write the bundle's attachments; return their paths inside the bundle, and the files."""


@dataclass(frozen=True)
class SimulatedData:
    """Scenes of a simulated recipe."""

    recipe: Recipe
    simulation: SimulationSettings

    @property
    def pixel_size_nm(self) -> float | None:
        """Pixel size of the ER scenes; None if there are other scenes with many pixel sizes."""
        return None if self.simulation.other_share else PIXEL_SIZE_NM

    @property
    def dose_photons(self) -> tuple[float, float] | None:
        """Range of doses of the calibration, which is within that of training."""
        return self.recipe.calibration.dose

    def rescaling(self, denoise: Denoise) -> Rescaling:
        """Return scale and offset, fitted to training scenes at high dose."""
        return rescaling_of_scenes(self.recipe, denoise)

    def threshold(self, denoise: Denoise) -> FlagThresholds | None:
        """Return the thresholds from simulated movies."""
        return threshold_of_scenes(self.recipe, denoise)

    def example(self) -> Pair:
        """Return the first frame of the sample movie."""
        movie, truth = self._sample
        return Pair("sample", "simulated", movie[0], truth[0], self.pixel_size_nm)

    def figures(self, restore: Restore) -> dict[str, float]:
        """Return the photometry on a static field, and how close validation scenes are to their truth."""
        judged = example_pairs(self.recipe, "validation", SCENES)
        tuned_on = example_pairs(self.recipe, "training", TUNED_ON)
        return photometry_figures(restore, seed=self.recipe.seed) | validation_figures(
            restore, judged, tuned_on=tuned_on
        )

    def attachments(self, folder: Path) -> dict[str, Path]:
        """Write the sample movie and its truth. It shows the ER, so a model of many samples has none."""
        if self.simulation.other_share:
            return {}
        return write_sample(folder, *self._sample, frame_interval_s=self.simulation.frame_interval_s)

    @cached_property
    def _sample(self) -> tuple[Movie, Movie]:
        return simulate_sample(self.simulation, seed=self.recipe.seed)


@dataclass(frozen=True)
class PairedData:
    """Prepared pairs, or only frames whose photons are split; no image is attached."""

    recipe: Recipe
    pairs: PairsSettings
    prepared: Prepared
    dose_ratio: float
    """Ratio of mean truth to mean counts of the training data."""
    dose_photons: tuple[float, float] | None = None

    @property
    def pixel_size_nm(self) -> float | None:
        """Pixel size from `prepare`."""
        return self.prepared.pixel_size_nm

    def rescaling(self, denoise: Denoise) -> Rescaling:
        """Return scale and offset, fitted to the training fields; with split photons, from the
        normalisation."""
        if not self.pairs.split_photons:
            return rescaling_of_pairs(self.prepared.folder, denoise, self.recipe.calibration.rescaling)
        truths = build_truth_normaliser(self.recipe.normalisation, dose_ratio=self.dose_ratio)
        if not isinstance(truths, FixedScale):
            raise CannotCalibrate(
                "expected normalisation kind fixed with split photons, because the parts must have the same "
                "scale"
            )
        return rescaling_of_split_photons(truths.scale)

    def threshold(self, denoise: Denoise) -> FlagThresholds | None:
        """Return None, because single images contain no adjacent frames."""
        return None

    def example(self) -> Pair:
        """Return the first validation field, or the first training field if there is none."""
        return next(islice(read_pairs(self.prepared.folder, role=self._shown), 1))

    def figures(self, restore: Restore) -> dict[str, float]:
        """Return how close validation fields are to their clean images, or to photons set aside."""
        judged, tuned_on = self.prepared.of("validation"), self.prepared.of("training")
        few = [tuned_on[index] for index in evenly(len(tuned_on))]
        self.prepared.check([*judged, *few])
        if self.pairs.split_photons:
            return split_figures(
                restore,
                [self.prepared.open(field)[0] for field in judged],
                tuned_on=[self.prepared.open(field)[0] for field in few],
                kept_share=self.pairs.kept_share,
            )
        return validation_figures(restore, self._examples(judged), tuned_on=self._examples(few))

    def _examples(self, fields: Sequence[PreparedField]) -> list[Example]:
        opened = (self.prepared.open(field) for field in fields)
        return [(low, high.astype(np.float64)) for low, high in opened if high is not None]

    def attachments(self, folder: Path) -> dict[str, Path]:
        """Return nothing, because the owner and licence of the images are unknown."""
        return {}

    @property
    def _shown(self) -> Role:
        return "validation" if self.prepared.of("validation") else "training"


@dataclass(frozen=True)
class MoviesData:
    """The user's own movies, without clean images; no image is attached."""

    recipe: Recipe
    settings: MoviesSettings
    stored: Stored
    dose_photons: tuple[float, float] | None = None

    @property
    def pixel_size_nm(self) -> float | None:
        """Pixel size that the movies state."""
        return self.stored.pixel_size_nm

    def rescaling(self, denoise: Denoise) -> Rescaling:
        """Return the scale of the initial bundle, so that counts keep their scale."""
        truths = build_truth_normaliser(self.recipe.normalisation, dose_ratio=1.0)
        assert isinstance(truths, FixedScale)  # guaranteed by the recipe
        return rescaling_of_split_photons(truths.scale, gain=self.settings.gain)

    def threshold(self, denoise: Denoise) -> FlagThresholds | None:
        """Return the thresholds between the movies' frames that were not used for training and empty
        fields."""
        return threshold_of_movies(self.stored, self.recipe, denoise)

    def example(self) -> Pair:
        """Return the first frame that was not used for training."""
        name = self.stored.index.movies[0].name
        return Pair(name, "", np.array(self.stored.deciding(0)[0]), None, self.pixel_size_nm)

    def figures(self, restore: Restore) -> dict[str, float]:
        """Return the margins over the best tuned filters, on frames of the first movie that were not used for
        training."""
        frames = np.array(self.stored.deciding(0)[-DECIDING:])
        found: dict[str, float] = {}
        for each in of_movie(frames, seed=self.recipe.seed):
            if isinstance(each, Yardstick) and each.name in DECISIVE:
                compared = compare(restore, each)
                found |= compared.over_filter.figures(f"movie_{each.name}_margin")
                found[f"movie_{each.name}_margin_ssim"] = round(compared.margin_ssim, 4)
        return found

    def attachments(self, folder: Path) -> dict[str, Path]:
        """Return nothing, because the owner of the images is unknown."""
        return {}


def training_data(recipe: Recipe, record: RunRecord) -> TrainingData:
    """Return the data of a run.

    Raises
    ------
    InvalidPrepared
        When the prepared folder is missing, or is not the one with which the run was trained.
    CannotAdapt
        When stored movies have changed.
    """
    if recipe.simulation is not None:
        return SimulatedData(recipe, recipe.simulation)
    if recipe.movies is not None:
        return MoviesData(recipe, recipe.movies, read_stored(recipe.movies.stored))
    assert recipe.pairs is not None  # guaranteed by the settings
    prepared = read_prepared(recipe.pairs.prepared)
    if record.data.get("prepared") != prepared.sha256:
        raise InvalidPrepared(
            f"{prepared.folder} has changed since the run was trained: its images or their roles are "
            "different, so training and test fields may be mixed; restore it, or fit again"
        )
    return PairedData(recipe, recipe.pairs, prepared, record.dose_ratio)
