"""What keeps an engine from starting."""

from collections.abc import Callable

import numpy as np
import pytest

from dimstream_models.bundle import Bundle, TestTensorMismatch
from dimstream_server import errors
from dimstream_server.engine.local import LocalEngine

BundleMaker = Callable[..., Bundle]


def test_an_engine_does_not_start_with_a_wrong_test_tensor(tiny_bundle: BundleMaker) -> None:
    with pytest.raises(TestTensorMismatch):
        LocalEngine([tiny_bundle(test_output=np.full((1, 1, 16, 16), 50, np.float32))])


def test_two_bundles_of_one_id_are_refused(tiny_bundle: BundleMaker) -> None:
    with pytest.raises(errors.DuplicateModel, match="both hold a model 'blur'"):
        LocalEngine([tiny_bundle("blur"), tiny_bundle("blur")])
