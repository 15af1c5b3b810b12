"""Strangers' bundles: little text or a little zip that is made to stand for much, or for something else."""

import hashlib
import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dimstream_models import bundle, npy
from dimstream_models.bundle import Bundle, contents, onnx_file, read_bundle, tensors, yaml_text
from dimstream_models.bundle.errors import InvalidBundle, NotOnnx

MIB = 2**20
ALIASES = b"a0: &a0 [x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 9)
)
TEXTS = {
    "an alias bomb as a key": (ALIASES + b"? *a8\n: x\n", "a key is a list or a mapping"),
    "a list as a key": (b"? [a, b]\n: x\n", "a key is a list or a mapping"),
    "a long text many times": (
        b"a: &a " + b"x" * 100_000 + b"\nb: [" + b"*a," * 2_000 + b"]\n",
        "expands to more than",
    ),
    "a number to the base of 60": (b"a: 1" + b":10" * 20_000 + b"\n", "a number has 60001 characters"),
    "a float beyond all floats": (b"a: 1" + b":0" * 45 + b"e400.5\n", None),
    "a float to the base of 60": (b"a: 1" + b":0" * 300 + b".5\n", "a number has"),
    "hexadecimal digits": (b"format_version: 0x" + b"f" * 5000 + b"\n", "a number has 5002 characters"),
    "binary digits": (b"name: 0b" + b"1" * 20_000 + b"\n", "a number has 20002 characters"),
    "a text that is named twice": (b"a: &a x\nb: *a\n", None),
    "another encoding": ("name: a\n".encode("utf-16"), "not valid YAML in UTF-8"),
    "a zero byte": (b"name: a\0b\n", "not valid YAML"),
    "two documents": (b"a: 1\n---\nb: 2\n", "not valid YAML"),
    "a tag to run": (b"a: !!python/name:os.system\n", "not valid YAML"),
}


def peak_of(work: Callable[[], object]) -> int:
    """Largest number of bytes that `work` held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_stands_for_much_is_refused_in_little_memory(name: str) -> None:
    text, says = TEXTS[name]

    def refused() -> None:
        if says is None:
            yaml_text.parse(text, name="bioimageio.yaml")
            return
        with pytest.raises(InvalidBundle, match=says):
            yaml_text.parse(text, name="bioimageio.yaml")

    assert peak_of(refused) < 64 * MIB


def test_a_bundle_is_read_in_as_much_memory_as_its_files_have(written: Bundle) -> None:
    size = sum(path.stat().st_size for path in written.source.rglob("*") if path.is_file())
    assert peak_of(lambda: read_bundle(written.source)) < 8 * MIB + 4 * size


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def exchanged(draw: st.DrawFn, value: Any) -> Any:
    """The same description with one value, somewhere inside, exchanged or taken out."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        rest = {name: item for name, item in value.items() if name != key}
        return rest if draw(st.integers(0, 5)) == 0 else {**rest, key: draw(exchanged(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(exchanged(value[place])), *value[place + 1 :]]
    strange = ["../x", "/etc/hostname", "a\0b", "x" * 5000, "bioimageio.yaml", "sample", float("nan"), 10**30]
    return draw(VALUES | st.sampled_from(strange))


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_description_with_another_value_inside_is_refused_or_read(
    written: Bundle, data: st.DataObject
) -> None:
    path = written.source / "bioimageio.yaml"
    valid = path.read_bytes()
    try:
        path.write_text(yaml.safe_dump(data.draw(exchanged(yaml.safe_load(valid)))))
        read_bundle(written.source)
    except bundle.BundleError:
        pass
    finally:
        path.write_bytes(valid)


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder))
    return target


def edited(path: Path, change: Callable[[bytearray], object]) -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def flag(bits: int, *, in_directory: bool = True) -> Callable[[bytearray], None]:
    """Set flag bits of every file of a zip, in its list of files or before the file itself."""

    def change(data: bytearray) -> None:
        signature, offset = (b"PK\x01\x02", 8) if in_directory else (b"PK\x03\x04", 6)
        at = data.find(signature)
        while at >= 0:
            (found,) = struct.unpack_from("<H", data, at + offset)
            struct.pack_into("<H", data, at + offset, found | bits)
            at = data.find(signature, at + 4)

    return change


def not_utf8(data: bytearray) -> None:
    """Say that names are UTF-8, and make them something else."""
    flag(0x800)(data)
    at = data.rfind(b"weights.onnx")
    data[at] = 0xFF


def huge_offset(data: bytearray) -> None:
    at = data.find(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 42, 0xFFFFFFFE)


def declares_less(data: bytearray) -> None:
    """Every file says that it unpacks to 10 bytes."""
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        struct.pack_into("<I", data, at + 24, 10)
        at = data.find(b"PK\x01\x02", at + 4)


ZIPS: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "encrypted": (flag(0x1), "encrypted"),
    "strongly encrypted": (flag(0x41), "encrypted"),
    "patched": (flag(0x20), "cannot be read as one"),
    "names that are no UTF-8": (not_utf8, "cannot be read as one"),
    "a file beyond the end": (huge_offset, "cannot be read as one"),
    "files that unpack to more than they say": (
        declares_less,
        "expected a zip|sha256|is missing|mapping|YAML",
    ),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_damaged_zip_is_refused(written: Bundle, tmp_path: Path, name: str) -> None:
    change, says = ZIPS[name]
    path = edited(zipped(written.source, tmp_path / "a.zip"), change)
    with pytest.raises(bundle.BundleError, match=says):
        read_bundle(path)


def test_a_zip_whose_list_of_files_is_endless_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(4_000):
            archive.writestr(f"{number:0300}", b"")

    def refused() -> None:
        with pytest.raises(bundle.TooLarge, match=r"list of files has \d+ bytes"):
            read_bundle(path)

    assert peak_of(refused) < 2 * MIB


def test_a_zip_that_unpacks_to_more_than_is_taken_is_refused(
    written: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(written.source, tmp_path / "a.zip")
    monkeypatch.setattr(contents, "MAX_TOTAL_BYTES", 1000)
    with pytest.raises(bundle.TooLarge, match=r"unpacks to \d+ bytes"):
        read_bundle(path)


def test_a_description_that_unpacks_to_much_is_refused_before_it_does(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bioimageio.yaml", b"#" * (64 * MIB))

    def refused() -> None:
        with pytest.raises(bundle.TooLarge, match="67108864 bytes"):
            read_bundle(path)

    assert peak_of(refused) < 4 * MIB


def test_one_file_named_thousands_of_times_is_hashed_once(
    written: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written.source / "bioimageio.yaml"
    described = yaml.safe_load(path.read_text())
    described["attachments"] = described["attachments"] * 3000
    path.write_text(yaml.safe_dump(described))
    hashed: list[str] = []
    verify = contents.verify

    def counted(*arguments: Any, **options: Any) -> None:
        hashed.append(arguments[1])
        verify(*arguments, **options)

    monkeypatch.setattr(contents, "verify", counted)
    read_bundle(written.source)
    assert hashed.count("sample/movie.tif") == 1


LINKS = {
    "a file outside": ("weights.onnx", "../outside.onnx"),
    "a device": ("weights.onnx", "/dev/zero"),
    "a folder outside": ("sample", "../outside"),
    "the system's memory": ("README.md", "/proc/self/mem"),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_that_leads_out_of_the_folder_is_refused(written: Bundle, name: str) -> None:
    place, target = LINKS[name]
    path, outside = written.source / place, written.source / target
    path.rename(outside if target.startswith("..") else written.source.parent / "aside")
    path.symlink_to(target)
    with pytest.raises(bundle.UnsafePath, match="leads out"):
        read_bundle(written.source)


def test_a_link_inside_the_folder_is_followed(written: Bundle) -> None:
    (written.source / "weights.onnx").rename(written.source / "kept.onnx")
    (written.source / "weights.onnx").symlink_to("kept.onnx")
    assert read_bundle(written.source).sha256 == written.sha256


def test_a_pipe_is_no_file_to_wait_for(written: Bundle) -> None:
    (written.source / "README.md").unlink()
    os.mkfifo(written.source / "README.md")
    with pytest.raises(bundle.MissingFile):
        read_bundle(written.source)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, payload: bytes, *, tag: int = 0) -> bytes:
    return varint((number << 3 | 2) + tag) + varint(len(payload)) + payload


def network(tensor: bytes) -> bytes:
    """A model whose only initializer is this tensor."""
    graph = field(1, field(4, b"Identity")) + field(5, tensor)
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x11")


OUTSIDE = field(13, field(1, b"location") + field(2, b"../../etc/passwd"))
SMUGGLED = {
    "plainly": (OUTSIDE, bundle.ExternalData),
    "inside the bundle": (field(13, field(1, b"location") + field(2, b"w.data")), bundle.ExternalData),
    "by its kind alone": (b"\x70\x01", bundle.ExternalData),
    "by a kind of too many bits": (b"\x70" + varint(2**32 + 1), bundle.ExternalData),
    "by a number of too many bits": (field(13, b"x", tag=2**32), NotOnnx),
    "in a number of eleven bytes": (b"\x70" + b"\x81" * 10 + b"\x01", NotOnnx),
    "in a group": (b"\x6b" + b"\x6c", NotOnnx),
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_weights_elsewhere_are_found_however_they_are_written(name: str) -> None:
    tensor, error = SMUGGLED[name]
    with pytest.raises(error):
        onnx_file.check_onnx(network(tensor), name="weights.onnx")


def test_a_network_of_millions_of_fields_is_refused_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_FIELDS", 10_000)
    data = b"\x08\x01" * 4_000_000

    def refused() -> None:
        with pytest.raises(NotOnnx, match="more than 10000 fields"):
            onnx_file.check_onnx(data, name="weights.onnx")

    assert peak_of(refused) < 4 * MIB


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


HEADERS = {
    "sides of thousands of digits": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 4000},)}}",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "no shape": "{'descr': '<f4', 'fortran_order': False, 'shape': 7}",
    "negative sides": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}",
    "a side of zero": "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 5)}",
    "a product that wraps": "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
    "values of many bytes": "{'descr': '<f16', 'fortran_order': False, 'shape': (1,)}",
    "texts": "{'descr': '<U100000000', 'fortran_order': False, 'shape': (1,)}",
    "code": "__import__('os').abort()",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_tensor_of_a_strange_header_is_refused_in_little_memory(name: str) -> None:
    data = header(HEADERS[name]) + bytes(4)

    def refused() -> None:
        with pytest.raises(InvalidBundle, match=r"expected a \.npy file"):
            tensors.from_npy(data, where="inputs.0.test_tensor")

    assert peak_of(refused) < MIB


def test_objects_are_refused_before_they_are_made() -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os._exit, (1,)

    buffer = io.BytesIO()
    np.save(buffer, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidBundle, match="values of type object"):
        tensors.from_npy(buffer.getvalue(), where="inputs.0.test_tensor")
    assert npy.read_header(io.BytesIO(buffer.getvalue())).dtype == object


def test_fortran_order_is_read_as_it_is_meant() -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    buffer = io.BytesIO()
    np.save(buffer, array)
    np.testing.assert_array_equal(tensors.from_npy(buffer.getvalue(), where="x"), array)


def test_weights_that_are_another_file_of_the_bundle_are_refused(written: Bundle) -> None:
    """A file may be named in another place than its own; what it holds decides."""
    path = written.source / "bioimageio.yaml"
    described = yaml.safe_load(path.read_text())
    cover = (written.source / "cover.png").read_bytes()
    described["weights"]["onnx"].update(source="cover.png", sha256=hashlib.sha256(cover).hexdigest())
    path.write_text(yaml.safe_dump(described))
    with pytest.raises(NotOnnx):
        read_bundle(written.source)
