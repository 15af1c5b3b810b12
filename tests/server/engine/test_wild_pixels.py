"""A few wild pixels in a good frame change nothing but a note: with the network that ships, as it serves."""

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from shipped import BUNDLE

from dimstream_client.files import open_images
from dimstream_models.bundle import Bundle, read_attachment, read_bundle
from dimstream_server.demo import MOVIE
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import Engine, EngineResult, FrameTask, StreamSpec

SECONDS = 60
SIDE = 96
HIT = 2
Frames = NDArray[np.uint16]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(BUNDLE)


@pytest.fixture(scope="module")
def movie(bundle: Bundle) -> Frames:
    with open_images(BytesIO(read_attachment(bundle, MOVIE))) as stack:
        return np.ascontiguousarray(stack.asarray()[:4, 100 : 100 + SIDE, 100 : 100 + SIDE])


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Iterator[Engine]:
    engine = LocalEngine([bundle], threads=1)
    yield engine
    engine.drain().result(SECONDS)


def _follow(engine: Engine, bundle: Bundle, movie: Frames, **spec: int) -> list[EngineResult]:
    stream = engine.open(StreamSpec(bundle.id, movie.shape[1:], "uint16", deliver_maps=True, **spec))
    futures = [engine.submit(stream, FrameTask(seq, frame, seq)) for seq, frame in enumerate(movie)]
    results = [future.result(SECONDS) for future in futures]
    engine.close(stream).result(SECONDS)
    return results


@pytest.fixture(scope="module")
def good(engine: Engine, bundle: Bundle, movie: Frames) -> list[EngineResult]:
    return _follow(engine, bundle, movie, split_every=1)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_good_frame_keeps_its_flag_and_gets_a_note(
    engine: Engine, bundle: Bundle, movie: Frames, good: list[EngineResult], number: int
) -> None:
    rng = np.random.default_rng(number)
    hit = movie.copy()
    for _ in range(number):
        hit[HIT, rng.integers(SIDE), rng.integers(SIDE)] = rng.choice([600, 5000, 60_000, 65_535])
    results = _follow(engine, bundle, hit, split_every=1)
    assert [one.flag for one in good] == ["ok"] * 4
    for seq, (result, clean) in enumerate(zip(results, good, strict=True)):
        assert result.flag == clean.flag, result.reason
        assert result.quality is not None
        assert clean.quality is not None
        noted = ("outlier_pixel",) if seq == HIT else ()
        assert set(result.quality.notes) == {*clean.quality.notes, *noted}
        assert result.quality.unsupported_fraction == pytest.approx(
            clean.quality.unsupported_fraction, abs=0.03
        )
        assert result.pixels is not None
        assert clean.pixels is not None
        far = np.abs(result.pixels.astype(float) - clean.pixels) > 0.1 * clean.pixels.max()
        assert far.mean() < 0.01
        assert result.support is not None
        assert np.mean(result.support != clean.support) < 0.03
