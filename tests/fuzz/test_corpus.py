"""The corpus, and every crash that was ever found, through the decoders: no fuzzer is needed for that."""

import tracemalloc
from pathlib import Path

import pytest
from fuzz.targets import TARGETS, seeds

CASES = [(name, path) for name in TARGETS for path in seeds(name)]
MOST_BYTES = 48 * 2**20  # the largest stack that is taken, some copies of it, and a description's values


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("name", "path"), CASES, ids=[f"{name}/{path.name}" for name, path in CASES])
def test_no_bytes_crash_a_decoder_or_fill_the_memory(name: str, path: Path) -> None:
    data = path.read_bytes()
    TARGETS[name](data)  # what is imported and made once does not count
    tracemalloc.start()
    try:
        TARGETS[name](data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES + 10 * len(data)


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_small_seeds(name: str) -> None:
    sizes = [path.stat().st_size for path in seeds(name)]
    assert sizes
    assert max(sizes) < 2**16, "a corpus of large files makes the fuzzer slow"
