"""Models that say what each pixel shows: their labels are delivered, and nothing pretends to judge them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from class_bundles import class_draft, expected_labels

from dimstream_models.bundle import Bundle, Clip, ScalePercentiles, write_bundle
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import FrameTask, StreamSpec
from dimstream_server.errors import OnlyLabels, UnsupportedNetwork
from dimstream_server.pipeline.fused_graph import compose

SHAPE = (45, 61)
SECONDS = 60


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "b", class_draft())


@pytest.fixture
def engine(bundle: Bundle) -> Iterator[LocalEngine]:
    engine = LocalEngine([bundle], threads=1)
    yield engine
    engine.drain().result(SECONDS)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_frames_come_back_as_labels_that_nothing_judges(engine: LocalEngine, dtype: str) -> None:
    stream = engine.open(StreamSpec("brightness", SHAPE, "uint16", out_dtype=dtype))  # type: ignore[arg-type]
    for seq in range(3):
        counts = np.random.default_rng(seq).poisson(9, SHAPE).astype(np.uint16)
        result = engine.submit(stream, FrameTask(seq, counts, seq)).result(SECONDS)
        assert result.status == "done"
        assert result.pixels is not None
        assert result.pixels.dtype == dtype
        np.testing.assert_array_equal(result.pixels, expected_labels(counts))
        assert result.flag == "unjudged"
        assert "labels, not counts" in str(result.reason)
        assert (result.ssim_prev, result.compared_seq, result.fractions, result.quality) == (None,) * 4


@pytest.mark.parametrize("wanted", [{"deliver_maps": True}, {"match_pixel_size": True}])
def test_what_only_a_denoiser_has_is_refused(engine: LocalEngine, wanted: dict[str, bool]) -> None:
    with pytest.raises(OnlyLabels, match="does not denoise"):
        engine.open(StreamSpec("brightness", SHAPE, "uint16", pixel_size_um=0.06, **wanted))  # type: ignore[arg-type]


def test_percentiles_are_not_served(tmp_path: Path) -> None:
    draft = class_draft(preprocessing=(ScalePercentiles(1, 99, 1e-6), Clip(0.0, 1.0)))
    with pytest.raises(UnsupportedNetwork, match="offline only"):
        compose(write_bundle(tmp_path / "p", draft), "uint16", "uint16")
