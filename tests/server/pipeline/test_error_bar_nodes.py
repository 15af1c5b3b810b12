"""Error bars in the fused graph: the second network's figures in counts, and no pixel changed by them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dimstream_client.quality import Thresholds
from dimstream_models.bundle import Bundle, ErrorBar
from dimstream_server.errors import UnsupportedNetwork
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.fused_model import FusedModel

BundleMaker = Callable[..., Bundle]
CPU = Device(cuda=None)
GAIN = 3.0  # of the tiny bundles


def _run(bundle: Bundle, frame: Any, *, with_sd: bool = True, out_dtype: str = "uint16") -> Any:
    model = FusedModel(
        bundle, device=CPU, in_dtype=frame.dtype.name, out_dtype=out_dtype, threads=1, with_sd=with_sd
    )
    return model.run(frame, None, Thresholds(None))


def _frame(shape: tuple[int, int] = (37, 50)) -> Any:
    return np.random.default_rng(5).poisson(4, shape).astype(np.uint16)


@pytest.mark.parametrize("opset", [17, 18, 20])
def test_deviations_are_the_second_networks_in_counts(
    tiny_bundle: BundleMaker, tiny_error_bar: Callable[..., ErrorBar], opset: int
) -> None:
    frame = _frame()
    bundle = tiny_bundle("identity", error_bar=tiny_error_bar(), opset=opset)
    output = _run(bundle, frame)
    expected = GAIN * (np.sqrt(frame) + 0.1 * frame)
    assert (output.sd.dtype, output.sd.shape) == (np.float32, frame.shape)
    np.testing.assert_allclose(output.sd, expected, rtol=1e-6)


def test_nothing_else_changes(tiny_bundle: BundleMaker, tiny_error_bar: Callable[..., ErrorBar]) -> None:
    frame = _frame()
    bundle = tiny_bundle("blur", error_bar=tiny_error_bar())
    without, with_sd = (_run(bundle, frame, with_sd=wanted) for wanted in (False, True))
    assert without.sd is None
    np.testing.assert_array_equal(with_sd.overview.pixels, without.overview.pixels)
    for name in ("denoised", "normalised", "support"):
        np.testing.assert_array_equal(getattr(with_sd, name), getattr(without, name))
    assert with_sd.measures == without.measures


def test_a_bundle_without_is_refused(tiny_bundle: BundleMaker) -> None:
    with pytest.raises(UnsupportedNetwork, match="blur has no error bar"):
        _run(tiny_bundle("blur"), _frame())


def test_a_network_of_other_ends_is_refused(
    tiny_bundle: BundleMaker, tiny_error_bar: Callable[..., ErrorBar]
) -> None:
    with pytest.raises(UnsupportedNetwork, match="two inputs and one output"):
        _run(tiny_bundle("blur", error_bar=tiny_error_bar(inputs=1)), _frame())
