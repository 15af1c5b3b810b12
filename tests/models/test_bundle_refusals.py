"""Every way in which a bundle can be wrong has its own error and its own message."""

import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import yaml

from dimstream_models import bundle
from dimstream_models.bundle import Bundle, read_bundle

Damage = Callable[[Path], None]


class Case(NamedTuple):
    damage: Damage
    error: type[bundle.BundleError]
    message: str


def described(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "bioimageio.yaml"
        content = yaml.safe_load(path.read_text())
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    return damage


def setting(*way: str | int, to: object) -> Damage:
    def change(content: Any) -> None:
        for part in way[:-1]:
            content = content[part]
        content[way[-1]] = to

    return described(change)


def without(*way: str | int) -> Damage:
    def change(content: Any) -> None:
        for part in way[:-1]:
            content = content[part]
        del content[way[-1]]

    return described(change)


def text(content: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / "bioimageio.yaml").write_bytes(content)

    return damage


def flipped(name: str) -> Damage:
    def damage(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[-1] ^= 1
        (folder / name).write_bytes(data)

    return damage


def gone(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def replaced(name: str, data: bytes, *way: str | int) -> Damage:
    """File with another content, and its hash as it should be."""

    def damage(folder: Path) -> None:
        (folder / name).write_bytes(data)
        setting(*way, "sha256", to=hashlib.sha256(data).hexdigest())(folder)

    return damage


def weights(data: bytes) -> Damage:
    return replaced("weights.onnx", data, "weights", "onnx")


def tensor(array: np.ndarray[Any, Any], *, pickled: bool = False) -> Damage:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return replaced("test_input.npy", buffer.getvalue(), "inputs", 0, "test_tensor")


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def huge_npy() -> bytes:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 800000, 800000), }"
    return b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n"


def with_external_data(folder: Path) -> None:
    model = onnx.load_from_string((folder / "weights.onnx").read_bytes())
    onnx.external_data_helper.convert_model_to_external_data(
        model, location="../../elsewhere.data", size_threshold=0
    )
    weights(model.SerializeToString())(folder)


def linked_outside(folder: Path) -> None:
    outside = folder.parent / "outside.onnx"
    (folder / "weights.onnx").rename(outside)
    (folder / "weights.onnx").symlink_to(outside)


def looped(folder: Path) -> None:
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to("README.md")


def post(*steps: dict[str, Any]) -> Damage:
    return setting("outputs", 0, "postprocessing", to=list(steps))


def pre(*steps: dict[str, Any]) -> Damage:
    return setting("inputs", 0, "preprocessing", to=list(steps))


def step(name: str, **kwargs: object) -> dict[str, Any]:
    return {"id": name, "kwargs": kwargs}


ALIAS_BOMB = b"a0: &a0 [x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)
)
MERGE_BOMB = b"a0: &a0 {k: v}\n" + b"".join(
    b"a%d: &a%d {<<: [%s]}\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)
)
DIMSTREAM = ("config", "dimstream")

CASES = {
    "weights: one byte changed": Case(flipped("weights.onnx"), bundle.ChangedFile, "weights.onnx.*sha256"),
    "test input: one byte changed": Case(flipped("test_input.npy"), bundle.ChangedFile, "test_input.npy"),
    "test output: one byte changed": Case(flipped("test_output.npy"), bundle.ChangedFile, "test_output.npy"),
    "README: one byte changed": Case(flipped("README.md"), bundle.ChangedFile, "README.md"),
    "cover: one byte changed": Case(flipped("cover.png"), bundle.ChangedFile, "cover.png"),
    "attachment: one byte changed": Case(flipped("sample/movie.tif"), bundle.ChangedFile, "movie.tif"),
    "weights: missing": Case(gone("weights.onnx"), bundle.MissingFile, "weights.onnx"),
    "test input: missing": Case(gone("test_input.npy"), bundle.MissingFile, "test_input.npy"),
    "README: missing": Case(gone("README.md"), bundle.MissingFile, "README.md"),
    "attachment: missing": Case(gone("sample/movie.tif"), bundle.MissingFile, "movie.tif"),
    "description: missing": Case(gone("bioimageio.yaml"), bundle.BundleNotFound, "bioimageio.yaml"),
    "weights: a web address": Case(
        setting("weights", "onnx", "source", to="https://example.org/w.onnx"), bundle.MissingFile, "download"
    ),
    "standard: older": Case(setting("format_version", to="0.4.9"), bundle.UnknownFormatVersion, "'0.4.9'"),
    "standard: newer": Case(setting("format_version", to="0.6.0"), bundle.UnknownFormatVersion, "'0.6.0'"),
    "standard: no version": Case(without("format_version"), bundle.UnknownFormatVersion, "None"),
    "config: newer": Case(
        setting(*DIMSTREAM, "format_version", to=2), bundle.UnknownFormatVersion, r"config\.dimstream.*is 2"
    ),
    "config: version is true": Case(
        setting(*DIMSTREAM, "format_version", to=True), bundle.UnknownFormatVersion, "True"
    ),
    "config: no version": Case(without(*DIMSTREAM, "format_version"), bundle.UnknownFormatVersion, "None"),
    "config: unknown key": Case(
        setting(*DIMSTREAM, "treshold", to=1), bundle.InvalidBundle, "treshold.*not permitted"
    ),
    "config: unknown key deeper": Case(
        setting(*DIMSTREAM, "ssim", "windows", to=7), bundle.InvalidBundle, r"ssim\.windows"
    ),
    "config: no mapping": Case(setting(*DIMSTREAM, to=[1]), bundle.InvalidBundle, "must be a mapping"),
    "config: even SSIM window": Case(
        setting(*DIMSTREAM, "ssim", "window", to=8), bundle.InvalidBundle, "odd"
    ),
    "config: threshold nan": Case(
        setting(*DIMSTREAM, "thresholds", "ssim", to=float("nan")), bundle.InvalidBundle, "thresholds.ssim"
    ),
    "config: threshold without its record": Case(
        setting(*DIMSTREAM, "calibration", to=None), bundle.InvalidBundle, "calibration record"
    ),
    "no hash in our own bundle": Case(
        without("weights", "onnx", "sha256"), bundle.InvalidBundle, r"weights\.onnx\.sha256 is missing"
    ),
    "step: unknown before": Case(pre(step("sigmoid")), bundle.UnknownProcessing, "'sigmoid'"),
    "step: range over rows": Case(
        pre(step("scale_range", axes=["x"])), bundle.UnknownProcessing, "'scale_range' with axes"
    ),
    "step: range upside down": Case(
        pre(step("scale_range", min_percentile=60, max_percentile=40)),
        bundle.UnknownProcessing,
        "min_percentile 60.0, which is not below",
    ),
    "step: range of another tensor": Case(
        pre(step("scale_range", reference_tensor="mask")), bundle.UnknownProcessing, "reference_tensor 'mask'"
    ),
    "step: unknown after": Case(post(step("sigmoid")), bundle.UnknownProcessing, r"outputs\.0.*'sigmoid'"),
    "step: only known before": Case(
        post(step("zero_mean_unit_variance")), bundle.UnknownProcessing, "'zero_mean_unit_variance'"
    ),
    "step: clip by percentile": Case(
        post(step("clip", min_percentile=1, max=9)), bundle.UnknownProcessing, "'clip' with percentiles"
    ),
    "step: statistics per row": Case(
        pre(step("zero_mean_unit_variance", axes=["x"])), bundle.UnknownProcessing, "not the whole frame"
    ),
    "step: strange type": Case(
        pre(step("ensure_dtype", dtype="int64")), bundle.UnknownProcessing, "dtype 'int64'"
    ),
    "step: unknown setting": Case(
        post(step("scale_linear", gain=2, gian=3)), bundle.InvalidBundle, r"postprocessing\.0.*gian"
    ),
    "step: network of another type": Case(
        pre(step("ensure_dtype", dtype="uint8")), bundle.UnsupportedModel, "takes float32"
    ),
    "yaml: broken": Case(text(b"format_version: [0.5.4\n"), bundle.InvalidBundle, "not valid YAML"),
    "yaml: no UTF-8": Case(text(b"name: \xff\xfe\n"), bundle.InvalidBundle, "not valid YAML in UTF-8"),
    "yaml: no mapping": Case(text(b"- 1\n"), bundle.InvalidBundle, "mapping"),
    "yaml: empty": Case(text(b""), bundle.InvalidBundle, "empty"),
    "yaml: key twice": Case(text(b"name: a\nname: b\n"), bundle.InvalidBundle, "'name' appears twice"),
    "yaml: alias bomb": Case(text(ALIAS_BOMB), bundle.InvalidBundle, "expands to more than"),
    "yaml: merge bomb": Case(text(MERGE_BOMB), bundle.InvalidBundle, "expands to more than"),
    "yaml: endless alias": Case(text(b"a: &a [*a]\n"), bundle.InvalidBundle, "inside the value"),
    "yaml: too deep": Case(text(b"a: " + b"[" * 1500 + b"]" * 1500), bundle.InvalidBundle, "too deeply"),
    "yaml: a Python object": Case(
        text(b"a: !!python/object/apply:os.getcwd []\n"), bundle.InvalidBundle, "not valid YAML"
    ),
    "yaml: a tag with nonsense": Case(text(b"a: !!bool maybe\n"), bundle.InvalidBundle, "not valid YAML"),
    "yaml: an empty number": Case(text(b"a: !!int ''\n"), bundle.InvalidBundle, "not valid YAML"),
    "yaml: no such date": Case(text(b"a: !!timestamp soon\n"), bundle.InvalidBundle, "not valid YAML"),
    "yaml: too large": Case(text(b"# " + b"x" * 300_000), bundle.TooLarge, "300002 bytes"),
    "path: climbs out": Case(
        setting("weights", "onnx", "source", to="../weights.onnx"), bundle.UnsafePath, r"'\.\./weights\.onnx'"
    ),
    "path: absolute": Case(
        setting("documentation", to="/etc/hostname"), bundle.UnsafePath, "'/etc/hostname'"
    ),
    "path: another system's": Case(
        setting("covers", 0, to="..\\cover.png"), bundle.UnsafePath, "plain path inside the bundle"
    ),
    "path: half a character": Case(setting("documentation", to="\ud800.md"), bundle.UnsafePath, "plain path"),
    "path: endless": Case(setting("documentation", to="a" * 5000), bundle.UnsafePath, "plain path"),
    "path: a loop of links": Case(looped, bundle.UnsafePath, "README.md"),
    "path: a link that leads out": Case(linked_outside, bundle.UnsafePath, "link that leads out"),
    "onnx: text": Case(weights(b"this is no network"), bundle.NotOnnx, "not an ONNX model"),
    "onnx: empty": Case(weights(b""), bundle.NotOnnx, "no version, graph and opset"),
    "onnx: cut off": Case(
        lambda folder: weights((folder / "weights.onnx").read_bytes()[:-40])(folder),
        bundle.NotOnnx,
        "not an ONNX model",
    ),
    "onnx: external data": Case(with_external_data, bundle.ExternalData, r"'\.\./\.\./elsewhere\.data'"),
    "onnx: external data declared": Case(
        setting("weights", "onnx", "external_data", to={"source": "w.data"}), bundle.ExternalData, "w.data"
    ),
    "weights: none in ONNX": Case(without("weights", "onnx"), bundle.UnsupportedModel, "ONNX weights"),
    "tensor: pickled": Case(
        tensor(np.array([[object()]]), pickled=True), bundle.InvalidBundle, "expected real numbers"
    ),
    "tensor: nan": Case(tensor(np.full((1, 1, 8, 8), np.nan)), bundle.InvalidBundle, "nan or infinity"),
    "tensor: not the declared axes": Case(tensor(np.zeros((8, 8))), bundle.InvalidBundle, "'bcyx'"),
    "tensor: no multiple of the step": Case(
        tensor(np.zeros((1, 1, 12, 16))), bundle.InvalidBundle, "multiples of 8"
    ),
    "tensor: another size than the output": Case(
        tensor(np.zeros((1, 1, 16, 16))), bundle.UnsupportedModel, "not as large"
    ),
    "tensor: declares more than it holds": Case(
        replaced("test_input.npy", huge_npy(), "inputs", 0, "test_tensor"), bundle.InvalidBundle, "its length"
    ),
    "tensor: no npy": Case(
        replaced("test_input.npy", b"nothing", "inputs", 0, "test_tensor"),
        bundle.InvalidBundle,
        "expected a .npy file",
    ),
    "tensor: npy header of minuses": Case(
        replaced("test_input.npy", npy_header("-" * 9000 + "1\n"), "inputs", 0, "test_tensor"),
        bundle.InvalidBundle,
        "expected a .npy file",
    ),
    "tensor: npy header badly indented": Case(
        replaced("test_input.npy", npy_header(" \n  x\n y\n"), "inputs", 0, "test_tensor"),
        bundle.InvalidBundle,
        "expected a .npy file",
    ),
    "id: too long": Case(setting("id", to="x" * 201), bundle.InvalidBundle, "at most 200 characters"),
    "tensor: none": Case(
        without("inputs", 0, "test_tensor"), bundle.InvalidBundle, r"inputs\.0\.test_tensor is missing"
    ),
    "model: another type": Case(setting("type", to="dataset"), bundle.UnsupportedModel, "'dataset'"),
    "model: several outputs": Case(
        described(lambda content: content["outputs"].append(content["outputs"][0])),
        bundle.UnsupportedModel,
        "outputs: the model has 2",
    ),
    "model: two channels": Case(
        setting("inputs", 0, "axes", 1, "channel_names", to=["a", "b"]), bundle.UnsupportedModel, "channels"
    ),
    "model: volumes": Case(
        described(
            lambda content: content["inputs"][0]["axes"].insert(
                2, {"type": "space", "id": "z", "size": {"min": 8, "step": 8}}
            )
        ),
        bundle.UnsupportedModel,
        "'z'",
    ),
    "model: one size only": Case(
        setting("inputs", 0, "axes", 2, "size", to=512), bundle.UnsupportedModel, "frames of any size"
    ),
    "model: sides that are no multiples": Case(
        setting("inputs", 0, "axes", 3, "size", "min", to=20),
        bundle.UnsupportedModel,
        "multiples of one step",
    ),
    "model: output of another size": Case(
        setting("outputs", 0, "axes", 2, "size", "offset", to=-4), bundle.UnsupportedModel, "input's size"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_bundle_is_refused_by_its_own_error(written: Bundle, name: str) -> None:
    case = CASES[name]
    case.damage(written.source)
    with pytest.raises(bundle.BundleError, match=case.message) as caught:
        read_bundle(written.source)
    assert type(caught.value) is case.error


def zip_of(folder: Path, target: Path, *, extra: Callable[[zipfile.ZipFile], object]) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
        extra(archive)
    return target


def link_entry(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    archive.writestr(entry, "/etc/hostname")


def thousand_entries(archive: zipfile.ZipFile) -> None:
    for number in range(1001):
        archive.writestr(f"{number}", b"")


ZIPS: dict[str, tuple[Callable[[zipfile.ZipFile], object], type[bundle.BundleError]]] = {
    "climbs out": (lambda archive: archive.writestr("../../evil", b""), bundle.UnsafePath),
    "absolute": (lambda archive: archive.writestr("/etc/evil", b""), bundle.UnsafePath),
    "drive": (lambda archive: archive.writestr("C:/evil", b""), bundle.UnsafePath),
    "backslashes": (lambda archive: archive.writestr("..\\evil", b""), bundle.UnsafePath),
    "link": (link_entry, bundle.UnsafePath),
    "packed by an unusual method": (
        lambda archive: archive.writestr("a", b"b" * 100, zipfile.ZIP_BZIP2),
        bundle.InvalidBundle,
    ),
    "thousands of files": (thousand_entries, bundle.TooLarge),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_hostile_zip_is_refused(written: Bundle, tmp_path: Path, name: str) -> None:
    extra, error = ZIPS[name]
    with pytest.raises(error):
        read_bundle(zip_of(written.source, tmp_path / "hostile.zip", extra=extra))


def test_a_zip_with_one_file_twice_is_refused(written: Bundle, tmp_path: Path) -> None:
    def two(archive: zipfile.ZipFile) -> None:
        archive.writestr("twice1", b"")
        archive.writestr("twice2", b"")

    source = zip_of(written.source, tmp_path / "a.zip", extra=two)
    source.write_bytes(source.read_bytes().replace(b"twice2", b"twice1"))
    with pytest.raises(bundle.InvalidBundle, match="two files of the same name"):
        read_bundle(source)


def test_a_zip_with_a_changed_byte_is_refused(written: Bundle, tmp_path: Path) -> None:
    source = zip_of(written.source, tmp_path / "a.zip", extra=lambda archive: None)
    needle = (written.source / "weights.onnx").read_bytes()
    source.write_bytes(source.read_bytes().replace(needle, needle[:-1] + bytes([needle[-1] ^ 1])))
    with pytest.raises(bundle.InvalidBundle, match="CRC"):
        read_bundle(source)


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(os.urandom(100))
    with pytest.raises(bundle.InvalidBundle, match="expected a zip"):
        read_bundle(tmp_path / "a.zip")


def test_nothing_at_the_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bundle.BundleNotFound, match="absent"):
        read_bundle(tmp_path / "absent")


def test_a_path_that_the_system_refuses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bundle.InvalidBundle, match="cannot be read"):
        read_bundle(tmp_path / ("x" * 300))


def test_a_file_that_the_system_cannot_read_is_refused(
    written: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "weights.onnx")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(bundle.InvalidBundle, match=r"weights.onnx cannot be read \(Permission denied\)"):
        read_bundle(written.source)


def test_every_error_has_a_code_of_its_own() -> None:
    classes = [value for value in vars(bundle.errors).values() if isinstance(value, type)]
    errors = [value for value in classes if issubclass(value, bundle.BundleError)]
    assert len({error.code for error in errors}) == len(errors) == 14
