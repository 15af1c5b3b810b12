"""Whatever bytes come, a decoder raises nothing but the errors that it promises."""

import pytest
from fuzz.targets import TARGETS, seeds
from hypothesis import given
from hypothesis import strategies as st

BYTES = st.binary(max_size=64)
CONTENTS = {name: [path.read_bytes() for path in seeds(name)] for name in TARGETS}


@st.composite
def damaged(draw: st.DrawFn, contents: list[bytes]) -> bytes:
    """A valid file after a few cuts, insertions, changed bytes and pieces of others."""
    data = draw(st.sampled_from(contents))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + draw(st.sampled_from([1, 4, 64, len(data)])))))
        other = draw(st.sampled_from(contents))
        piece = draw(
            st.one_of(
                BYTES,
                st.sampled_from(
                    [b"", b"\xff\xff\xff\xff", b"\0\0\0\0", b"9" * 5000, b"[" * 2000, b"\x80" * 9]
                ),
                st.integers(0, len(other)).map(lambda at, other=other: other[at : at + 40]),
                st.just(data[start:end] * 2),
            )
        )
        data = data[:start] + piece + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_damaged_files_are_refused_or_read(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(damaged(CONTENTS[name])))


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=512))
def test_any_bytes_are_refused_or_read(name: str, data: bytes) -> None:
    TARGETS[name](data)
