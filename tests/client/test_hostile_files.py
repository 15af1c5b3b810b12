"""Strangers' files: TIFF stacks, records of planes and key files that are made to take memory or time."""

import io
import json
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from fuzz.targets import CORPUS

from dimstream_client.errors import Code, KeyFileError, RecordError, TiffError
from dimstream_client.files import open_images
from dimstream_client.keys import TOKEN, read_entries
from dimstream_client.volumes.plane_records import plane_of, read_records

PAGE = {256: 32, 257: 24, 258: 8, 262: 1, 277: 1, 278: 24}
COUNTS = np.random.default_rng(0).poisson(3.0, (24, 32)).astype(np.uint16)


def page(compression: int, payload: bytes) -> io.BytesIO:
    """A TIFF of one 24 x 32 page of uint8 whose only strip is these bytes."""
    tags = {**PAGE, 259: compression, 273: 8 + 2 + 9 * 12 + 4, 279: len(payload)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return io.BytesIO(b"II*\0\x08\0\0\0" + struct.pack("<H", 9) + entries + bytes(4) + payload)


def described(xml: str) -> io.BytesIO:
    file = io.BytesIO()
    tifffile.imwrite(file, COUNTS, description=xml, metadata=None)
    return file


GIANT_PX = (3000, 3000)
PICTURES = {
    "JPEG": (7, imagecodecs.jpeg8_encode),
    "PNG": (34933, imagecodecs.png_encode),
    "JPEG2000": (34712, imagecodecs.jpeg2k_encode),
    "JPEGXL": (50002, lambda pixels: imagecodecs.jpegxl_encode(pixels, effort=1)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_page_that_unpacks_as_it_likes_is_refused_unread(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpacked(*_: object) -> None:
        raise AssertionError("the page was unpacked")

    compression, encode = PICTURES[name]
    payload = encode(np.zeros(GIANT_PX, np.uint8))
    monkeypatch.setattr(tifffile.TiffPage, "asarray", unpacked)
    with pytest.raises(TiffError, match=f"packed by {name}; expected none, LZW, deflate") as refused:
        open_images(page(compression, bytes(payload)))
    assert refused.value.code == Code.BAD_IMAGE


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits", "lzma", "zstd"])
def test_codecs_that_are_told_their_size_are_read(compression: str) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, COUNTS, compression=compression)
    with open_images(file) as stack:
        np.testing.assert_array_equal(stack.read(0), COUNTS)


@pytest.mark.parametrize(("name", "value"), [("MAX_ELEMENTS", 9), ("MAX_XML", 200)])
def test_ome_xml_that_would_fill_the_memory_is_refused(
    name: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"dimstream_client.files.ome.{name}", value)
    xml = '<?xml version="1.0"?><OME>' + "<a/>" * 100 + "</OME>"
    with pytest.raises(TiffError, match="432 characters and 103 tags") as refused:
        open_images(described(xml))
    assert refused.value.code == Code.OVERSIZE


def test_entities_that_stand_for_billions_are_refused() -> None:
    entities = "".join(f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(9))
    xml = f"<?xml version='1.0'?><!DOCTYPE l [<!ENTITY a '{'x' * 1000}'>{entities}]><OME>&j;</OME>"
    with pytest.raises(TiffError, match="amplification"):
        open_images(described(xml))


def test_a_number_of_planes_that_is_none_is_refused() -> None:
    pixels = (
        '<Pixels DimensionOrder="XYZCT" Type="uint16" SizeX="32" SizeY="24" SizeC="1" SizeT="1" SizeZ="{}">'
    )
    images = "".join(f"<Image>{pixels.format(z)}<TiffData/></Pixels></Image>" for z in ("nan", "1000000000"))
    with pytest.raises(TiffError, match="planes, at most 1000000"):
        open_images(described(f'<?xml version="1.0"?><OME>{images}</OME>'))


def test_a_page_of_another_shape_is_refused() -> None:
    """The fuzzer found it; the frames of a stack have one shape, and memory is set aside for that one."""
    path = CORPUS / "tiff" / "found-a-page-of-another-shape"
    with open_images(path) as stack, pytest.raises(TiffError, match="expected frames of one kind"):
        list(stack.frames())


RECORD = {
    "index": {"t": 0, "c": 0, "z": 1, "p": 0},
    "status": "done",
    "flag": "ok",
    "quality": {"structure_score": 1},
}
RECORDS = {
    "nested": "[" * 100_000,
    "a list": "[1]",
    "no index": json.dumps({**RECORD, "index": None}),
    "an endless place": json.dumps({**RECORD, "index": {**RECORD["index"], "z": 10**300}}),
    "a negative place": json.dumps({**RECORD, "index": {**RECORD["index"], "z": -1}}),
    "a text for a number": json.dumps({**RECORD, "quality": {"structure_score": "x" * 5000}}),
    "frames that are none": json.dumps({"frames": [[[]] * 1000]}),
    "a list for an object": json.dumps({**RECORD, "quality": [1]}),
}


@pytest.mark.parametrize("case", RECORDS)
def test_records_of_nothing_are_refused_in_a_line(tmp_path: Path, case: str) -> None:
    path = tmp_path / "flags.jsonl"
    path.write_text(RECORDS[case])
    with pytest.raises(RecordError) as refused:
        [plane_of(record) for record in read_records(path)]
    assert len(str(refused.value)) < 400 + len(str(path))


def test_a_number_beyond_every_float_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "flags.jsonl"
    path.write_text(json.dumps({**RECORD, "quality": {"structure_score": 10**400}}))
    assert plane_of(read_records(path)[0]).structure_score is None


KEY_FILES = {
    "another kind": b"dimstream-secret JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6\n",
    "other bytes": b"\xff\xfe" * 50,
    "too large": b"#" * 1_000_001,
    "a short token": b"dimstream-token short\n",
    "an endless token": b"dimstream-token " + b"x" * 5000,
}


@pytest.mark.parametrize("case", KEY_FILES)
def test_a_file_that_holds_no_tokens_is_refused_and_not_logged(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.token"
    path.write_bytes(KEY_FILES[case])
    with pytest.raises(KeyFileError) as refused:
        read_entries(path, TOKEN)
    assert not [word for word in KEY_FILES[case].split()[1:] if word.decode() in str(refused.value)]


def test_a_path_that_is_none_is_refused() -> None:
    with pytest.raises(KeyFileError, match="expected a path"):
        read_entries("a\0.token", TOKEN)
