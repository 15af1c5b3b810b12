"""All settings of a training run, validated, in one frozen file.

A recipe names the data, their normalisation, the network, the fit, the search, the calibration and the
bundle. A run writes it back complete. Unknown keys are refused; units and bounds are stated at each field.
"""

from dimstream_models.training.settings.calibration import BundleSettings, CalibrationSettings
from dimstream_models.training.settings.data import (
    MoviesSettings,
    NormalisationSettings,
    PairsSettings,
    SimulationSettings,
)
from dimstream_models.training.settings.fit import (
    LARGEST,
    FineTuningSettings,
    FitSettings,
    LossSettings,
    Precision,
)
from dimstream_models.training.settings.network import Activation, Initializer, NetworkSettings
from dimstream_models.training.settings.recipe import Recipe, read_recipe, write_recipe
from dimstream_models.training.settings.search import SearchSettings, SearchSpace

__all__ = [
    "LARGEST",
    "Activation",
    "BundleSettings",
    "CalibrationSettings",
    "FineTuningSettings",
    "FitSettings",
    "Initializer",
    "LossSettings",
    "MoviesSettings",
    "NetworkSettings",
    "NormalisationSettings",
    "PairsSettings",
    "Precision",
    "Recipe",
    "SearchSettings",
    "SearchSpace",
    "SimulationSettings",
    "read_recipe",
    "write_recipe",
]
