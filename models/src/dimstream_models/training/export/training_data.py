"""What an export takes from what a network was trained on: simulated scenes, prepared pairs or movies."""

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
DECIDING: Final = 12  # frames of a movie that figures are taken on
SCENES: Final = 12  # simulated validation fields that figures are taken on


class TrainingData(Protocol):
    """Data that a network was trained on."""

    @property
    def pixel_size_nm(self) -> float | None:
        """Side of a pixel, nm."""

    @property
    def dose_photons(self) -> tuple[float, float] | None:
        """Lowest and highest dose, photons on a structure, where it is known."""

    def rescaling(self, denoise: Denoise) -> Rescaling:
        """Return scale and offset, of training images only."""

    def threshold(self, denoise: Denoise) -> FlagThresholds | None:
        """Return the SSIM threshold that follows from the data alone; None: from recorded movies only."""

    def example(self) -> Pair:
        """Return a field of view to show."""

    def figures(self, restore: Restore) -> dict[str, float]:
        """Return figures of merit."""

    def attachments(self, folder: Path) -> dict[str, Path]:
        """Write files that go with the bundle; path inside the bundle to file."""


@dataclass(frozen=True)
class SimulatedData:
    """Scenes of a simulated recipe."""

    recipe: Recipe
    simulation: SimulationSettings

    @property
    def pixel_size_nm(self) -> float | None:
        """Of the ER scenes; None where other scenes have pixels of many sizes."""
        return None if self.simulation.other_share else PIXEL_SIZE_NM

    @property
    def dose_photons(self) -> tuple[float, float] | None:
        """Of the calibration, which lies within the training's."""
        return self.recipe.calibration.dose

    def rescaling(self, denoise: Denoise) -> Rescaling:
        """Return the fit to training scenes at a high dose."""
        return rescaling_of_scenes(self.recipe, denoise)

    def threshold(self, denoise: Denoise) -> FlagThresholds | None:
        """Return the threshold between simulated movies."""
        return threshold_of_scenes(self.recipe, denoise)

    def example(self) -> Pair:
        """Return the first frame of the sample movie."""
        movie, truth = self._sample
        return Pair("sample", "simulated", movie[0], truth[0], self.pixel_size_nm)

    def figures(self, restore: Restore) -> dict[str, float]:
        """Return the photometry on a static field, and how close validation scenes come to their truth."""
        judged = example_pairs(self.recipe, "validation", SCENES)
        tuned_on = example_pairs(self.recipe, "training", TUNED_ON)
        return photometry_figures(restore, seed=self.recipe.seed) | validation_figures(
            restore, judged, tuned_on=tuned_on
        )

    def attachments(self, folder: Path) -> dict[str, Path]:
        """Write the sample movie and its truth; it shows the ER, so a model of many samples has none."""
        if self.simulation.other_share:
            return {}
        return write_sample(folder, *self._sample, frame_interval_s=self.simulation.frame_interval_s)

    @cached_property
    def _sample(self) -> tuple[Movie, Movie]:
        return simulate_sample(self.simulation, seed=self.recipe.seed)


@dataclass(frozen=True)
class PairedData:
    """Prepared pairs, or frames alone whose photons are split; none of the images is attached."""

    recipe: Recipe
    pairs: PairsSettings
    prepared: Prepared
    dose_ratio: float
    """Mean truth over mean counts of the training data."""
    dose_photons: tuple[float, float] | None = None

    @property
    def pixel_size_nm(self) -> float | None:
        """As `prepare` found it."""
        return self.prepared.pixel_size_nm

    def rescaling(self, denoise: Denoise) -> Rescaling:
        """Return the fit to the training fields; of split photons what the normalisation implies."""
        if not self.pairs.split_photons:
            return rescaling_of_pairs(self.prepared.folder, denoise, self.recipe.calibration.rescaling)
        truths = build_truth_normaliser(self.recipe.normalisation, dose_ratio=self.dose_ratio)
        if not isinstance(truths, FixedScale):
            raise CannotCalibrate(
                "expected normalisation kind fixed with split photons: the parts share a scale"
            )
        return rescaling_of_split_photons(truths.scale)

    def threshold(self, denoise: Denoise) -> FlagThresholds | None:
        """Return None: single images say nothing of adjacent frames."""
        return None

    def example(self) -> Pair:
        """Return the first validation field; the first training field where there is none."""
        return next(islice(read_pairs(self.prepared.folder, role=self._shown), 1))

    def figures(self, restore: Restore) -> dict[str, float]:
        """Return how close validation fields come to their clean images, or to photons set aside."""
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
        """Return nothing: whose images these are, and under what licence, only their owner knows."""
        return {}

    @property
    def _shown(self) -> Role:
        return "validation" if self.prepared.of("validation") else "training"


@dataclass(frozen=True)
class MoviesData:
    """The user's own movies, without clean images; none of the images is attached."""

    recipe: Recipe
    settings: MoviesSettings
    stored: Stored
    dose_photons: tuple[float, float] | None = None

    @property
    def pixel_size_nm(self) -> float | None:
        """As the movies state it."""
        return self.stored.pixel_size_nm

    def rescaling(self, denoise: Denoise) -> Rescaling:
        """Return the scale of the bundle that it began with, so that counts mean the same."""
        truths = build_truth_normaliser(self.recipe.normalisation, dose_ratio=1.0)
        assert isinstance(truths, FixedScale)  # the recipe makes sure
        return rescaling_of_split_photons(truths.scale, gain=self.settings.gain)

    def threshold(self, denoise: Denoise) -> FlagThresholds | None:
        """Return the thresholds between the movies' frames that never trained and simulated empty fields."""
        return threshold_of_movies(self.stored, self.recipe, denoise)

    def example(self) -> Pair:
        """Return the first frame that never trained."""
        name = self.stored.index.movies[0].name
        return Pair(name, "", np.array(self.stored.deciding(0)[0]), None, self.pixel_size_nm)

    def figures(self, restore: Restore) -> dict[str, float]:
        """Return how well it does beside the best tuned filters, on frames of the first movie that never
        trained."""
        frames = np.array(self.stored.deciding(0)[-DECIDING:])
        found: dict[str, float] = {}
        for each in of_movie(frames, seed=self.recipe.seed):
            if isinstance(each, Yardstick) and each.name in DECISIVE:
                compared = compare(restore, each)
                found |= compared.over_filter.figures(f"movie_{each.name}_margin")
                found[f"movie_{each.name}_margin_ssim"] = round(compared.margin_ssim, 4)
        return found

    def attachments(self, folder: Path) -> dict[str, Path]:
        """Return nothing: whose images these are, only their owner knows."""
        return {}


def training_data(recipe: Recipe, record: RunRecord) -> TrainingData:
    """Return the data of a run.

    Raises
    ------
    InvalidPrepared
        When the prepared folder is not there, or not the one that the run was trained on.
    CannotAdapt
        When stored movies have changed.
    """
    if recipe.simulation is not None:
        return SimulatedData(recipe, recipe.simulation)
    if recipe.movies is not None:
        return MoviesData(recipe, recipe.movies, read_stored(recipe.movies.stored))
    assert recipe.pairs is not None  # the settings make sure
    prepared = read_prepared(recipe.pairs.prepared)
    if record.data.get("prepared") != prepared.sha256:
        raise InvalidPrepared(
            f"{prepared.folder} is not what the run was trained on: its images or their roles have changed,"
            " so a training field of today may be yesterday's test; restore it, or fit again"
        )
    return PairedData(recipe, recipe.pairs, prepared, record.dose_ratio)
