"""The word that names a device, and whether the device multiplies as the word says."""

from typing import Any

import numpy as np
import pytest

from dimstream_models.precisions import FRACTION_BITS, Precision
from dimstream_server.errors import DeviceUnavailable
from dimstream_server.pipeline.device_name import Device, parse_device
from dimstream_server.pipeline.device_probe import check_bits, fraction_bits, probe

WORDS = {
    "cpu": ("cpu", Device()),
    "cpu@f32": ("cpu", Device()),
    "cuda:0": ("cuda:0", Device(cuda=0)),
    "cuda:12@f32": ("cuda:12", Device(cuda=12)),
    "openvino:cpu": ("openvino:cpu", Device(runtime="openvino")),
    "openvino:cpu@f32": ("openvino:cpu", Device(runtime="openvino")),
    "openvino:cpu@bf16": ("openvino:cpu@bf16", Device(runtime="openvino", precision="bfloat16")),
    "openvino:cpu@fp16": ("openvino:cpu@fp16", Device(runtime="openvino", precision="float16")),
    "cuda:3@tf32": ("cuda:3@tf32", Device(cuda=3, precision="tf32")),
}
NO_DEVICES = (
    "",
    "gpu",
    "cuda",
    "cuda:x",
    "CPU",
    "cuda:-1",
    "cuda:00",
    "cuda:0 ",
    "cpu@",
    "cuda:١",
    "cpu:0",
    "openvino",
    "openvino:gpu",
    "openvino:cuda:0",
)
NO_PRECISIONS = ("cpu@bf16", "cpu@tf32", "cuda:0@fp16", "cuda:0@bf16", "cpu@float32", "cpu@f16")


@pytest.mark.parametrize("word", WORDS)
def test_a_word_names_a_device_and_its_precision(word: str) -> None:
    name, device = WORDS[word]
    assert parse_device(word) == device
    assert device.name == name
    assert parse_device(device.name) == device


@pytest.mark.parametrize("word", NO_DEVICES)
def test_what_is_no_device_is_refused_with_what_is_possible(word: str) -> None:
    with pytest.raises(
        DeviceUnavailable,
        match=r"a device is 'cpu', 'cuda:N', 'cuda:N@tf32', .* or 'openvino:cpu@fp16', not ",
    ):
        parse_device(word)


@pytest.mark.parametrize("word", NO_PRECISIONS)
def test_a_precision_that_a_device_has_not_is_refused(word: str) -> None:
    with pytest.raises(DeviceUnavailable, match=r"precision that it lacks; a device is 'cpu'"):
        parse_device(word)


def test_the_cpu_multiplies_in_float32() -> None:
    probe(Device())


@pytest.mark.parametrize("bits", [3, 7, 10, 22, 23])
def test_the_probe_counts_the_bits_that_took_part(bits: int) -> None:
    columns = 1 + np.exp2(-np.arange(32.0)).clip(2.0**-23)
    rounded = np.round(columns * 2.0**bits) / 2.0**bits  # ties to even, as hardware does
    assert fraction_bits(_everywhere(rounded)) == bits


def test_one_channel_that_rounds_is_enough() -> None:
    output = _everywhere(1 + np.exp2(-np.arange(32.0)).clip(2.0**-23))
    output[0, 5, 7, 12] = 1
    assert fraction_bits(output) == 11


def _everywhere(columns: Any) -> Any:
    return np.broadcast_to(columns.astype(np.float32), (1, 16, 32, 32)).copy()


@pytest.mark.parametrize("precision", FRACTION_BITS)
def test_other_bits_than_those_of_the_precision_are_refused(precision: Precision) -> None:
    device, bits = Device(cuda=0, precision=precision), FRACTION_BITS[precision]
    check_bits(device, bits)
    for wrong in {7, 10, 23} - {bits, *([23] if precision == "tf32" else [])}:
        with pytest.raises(DeviceUnavailable, match=f"expected factors of {bits} bits of fraction"):
            check_bits(device, wrong)
