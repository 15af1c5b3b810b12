"""Weights of the published Keras code, read by structure, without TensorFlow."""
