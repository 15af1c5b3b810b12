"""The format byte by byte: a change of these literals is a change of the format (`docs/bundle.md`)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dimstream_models.bundle import (
    Author,
    BundleDraft,
    Citation,
    DimstreamConfig,
    RescalingRecord,
    SsimSettings,
    Thresholds,
    WindowCalibration,
    read_bundle,
    write_bundle,
)

RELU_ONNX = bytes.fromhex(
    "0808"  # ir_version 8
    "3a52" "0a0c" "0a0178" "120179" "220452656c75" "120472656c75"  # graph relu, node x -> Relu -> y
    "5a1d" "0a0178" "1218" "0a16" "0801" "1212" "0a020801" "0a020801" "0a03120168" "0a03120177"
    "621d" "0a0179" "1218" "0a16" "0801" "1212" "0a020801" "0a020801" "0a03120168" "0a03120177"
    "4204" "0a00" "1011"  # opset 17
)  # fmt: skip

EXPECTED_YAML = b"""\
format_version: 0.5.4
type: model
id: tiny
name: Tiny model
version: 0.1.0
description: Lets every count pass.
authors:
- name: Ada Example
  orcid: 0000-0002-1825-0097
license: BSD-3-Clause
cite:
- text: A paper
  doi: 10.1038/s42003-023-05054-z
tags:
- denoising
documentation: README.md
covers:
- cover.png
attachments:
- source: movie.tif
  sha256: 75a2a13326b2a4a0b2265dbc2d0a91bfc7b540f0b10b5b9abd2a3fc9d7b83016
inputs:
- id: input
  description: photon counts
  axes:
  - type: batch
    size: 1
  - type: channel
    channel_names:
    - counts
  - type: space
    id: y
    size:
      min: 2
      step: 2
    unit: nanometer
    scale: 20.0
  - type: space
    id: x
    size:
      min: 2
      step: 2
    unit: nanometer
    scale: 20.0
  test_tensor:
    source: test_input.npy
    sha256: cc619d9080d27b16e61874fb9891bdf38fc9437f83ce552eda4e6682881935cc
  data:
    type: float32
  preprocessing:
  - id: ensure_dtype
    kwargs:
      dtype: float32
outputs:
- id: output
  description: denoised photon counts
  axes:
  - type: batch
    size: 1
  - type: channel
    channel_names:
    - denoised
  - type: space
    id: y
    size:
      tensor_id: input
      axis_id: y
    unit: nanometer
    scale: 20.0
  - type: space
    id: x
    size:
      tensor_id: input
      axis_id: x
    unit: nanometer
    scale: 20.0
  test_tensor:
    source: test_output.npy
    sha256: fc6fa8541b35abed7882fcde8eb534030f2c982cf083d1740fdebd69a9502021
  data:
    type: float32
  postprocessing:
  - id: scale_linear
    kwargs:
      gain: 2.0
      offset: 1.0
  - id: clip
    kwargs:
      min: 0.0
weights:
  onnx:
    source: weights.onnx
    sha256: 8650e6ed914ca0a272d4f4e3cca0a3e82b9ec5459c42c2b26f0b600e9b768358
    opset_version: 17
config:
  dimstream:
    format_version: 1
    ssim:
      normalisation: maximum
      data_range: 1.0
      window: 7
    thresholds:
      ssim: null
      background_max: 5.0
      signal_min: 25.0
      window_px: 10
    calibration: null
    input_normalisation: null
    pixel_size_nm: 20.0
    dose_photons: null
    provenance: null
    quality: {}
    files:
      README.md: 7f180f7692de57dbd12a03de594d0dfc3770fbcf112a0c61e677db8b1f3e86b9
      cover.png: 4c4b6a3be1314ab86138bef4314dde022e600960d8689a2c8f8631802d20dab6
"""

EXPECTED_NPY = (
    b"\x93NUMPY\x01\x00\x76\x00"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 2, 2), }".ljust(117)
    + b"\n"
    + bytes.fromhex("00000000 0000803f 00000040 00004040")
)


EXPECTED_RECORDS = b"""\
    rescaling:
      method: clipped_quantiles
      data: 3 training fields
      images: 3
      pixels: 1200
      r_squared: 0.75
      rms_error: 2.5
      prediction_bounds:
      - 0.0
      - 1.5
      truth_bounds:
      - 0.0
      - 90.0
    window_calibration:
      method: window sums of a dark movie
      dark_frames: 20
      dark_quantiles:
        '0.995': 4.0
      background_share: 0.995
      signal_share: 0.0
      note: ''
"""
RECORDS = {
    "rescaling": RescalingRecord(
        method="clipped_quantiles",
        data="3 training fields",
        images=3,
        pixels=1200,
        r_squared=0.75,
        rms_error=2.5,
        prediction_bounds=(0, 1.5),
        truth_bounds=(0, 90),
    ),
    "window_calibration": WindowCalibration(
        method="window sums of a dark movie",
        dark_frames=20,
        dark_quantiles={"0.995": 4},
        background_share=0.995,
        signal_share=0,
    ),
}


@pytest.fixture
def tiny_draft(tmp_path: Path) -> BundleDraft:
    movie = tmp_path / "m.tif"
    movie.write_bytes(b"II*\0")
    counts = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    return BundleDraft(
        id="tiny",
        name="Tiny model",
        description="Lets every count pass.",
        authors=(Author("Ada Example", orcid="0000-0002-1825-0097"),),
        licence="BSD-3-Clause",
        documentation="# Validation\n",
        cover=b"\x89PNG\r\n\x1a\n",
        onnx=RELU_ONNX,
        test_input=counts,
        test_output=2 * counts + 1,
        step=2,
        min_side=2,
        gain=2.0,
        offset=1.0,
        clip_min=0.0,
        config=DimstreamConfig(
            ssim=SsimSettings(normalisation="maximum", data_range=1.0, window=7),
            thresholds=Thresholds(ssim=None, background_max=5, signal_min=25, window_px=10),
            pixel_size_nm=20,
        ),
        attachments={"movie.tif": movie},
        citations=(Citation("A paper", "10.1038/s42003-023-05054-z"),),
        tags=("denoising",),
    )


@pytest.fixture
def tiny(tiny_draft: BundleDraft, tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "tiny", tiny_draft).source


def test_the_description_is_these_bytes(tiny: Path) -> None:
    assert (tiny / "bioimageio.yaml").read_bytes() == EXPECTED_YAML


def test_records_that_joined_later_are_these_bytes(tiny_draft: BundleDraft, tmp_path: Path) -> None:
    config = tiny_draft.config.model_copy(update=RECORDS)
    bundle = write_bundle(tmp_path / "recorded", replace(tiny_draft, config=config))
    before, rest = EXPECTED_YAML.split(b"    input_normalisation: null\n")
    expected = before + EXPECTED_RECORDS + b"    input_normalisation: null\n" + rest
    assert (bundle.source / "bioimageio.yaml").read_bytes() == expected
    assert bundle.config is not None
    assert {name: getattr(bundle.config, name) for name in RECORDS} == RECORDS


def test_a_test_tensor_is_these_bytes(tiny: Path) -> None:
    assert (tiny / "test_input.npy").read_bytes() == EXPECTED_NPY


def test_these_bytes_are_a_bundle(tmp_path: Path) -> None:
    files = {
        "bioimageio.yaml": EXPECTED_YAML,
        "weights.onnx": RELU_ONNX,
        "test_input.npy": EXPECTED_NPY,
        "test_output.npy": EXPECTED_NPY[:128] + np.array([1, 3, 5, 7], "<f4").tobytes(),
        "README.md": b"# Validation\n",
        "cover.png": b"\x89PNG\r\n\x1a\n",
        "movie.tif": b"II*\0",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    read = read_bundle(tmp_path)
    assert (read.id, read.gain, read.offset, read.clip_min, read.clip_max) == ("tiny", 2.0, 1.0, 0.0, None)
    assert read.test_output.tolist() == [[[[1, 3], [5, 7]]]]
