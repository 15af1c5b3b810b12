"""Weights of the published Keras code, read by structure, without TensorFlow."""

from dimstream_models.training.keras_import.configuration import KerasConfig, read_keras_config
from dimstream_models.training.keras_import.reading import KerasNetwork, read_keras_weights

__all__ = ["KerasConfig", "KerasNetwork", "read_keras_config", "read_keras_weights"]
