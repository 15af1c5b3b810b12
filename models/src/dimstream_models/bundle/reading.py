"""Reading a bundle: everything is checked before it is used, and nothing is executed."""

import hashlib
import re
from os import PathLike
from pathlib import Path

from dimstream_models.arithmetic import Array
from dimstream_models.bundle import contents as files
from dimstream_models.bundle import declared_processing, yaml_text
from dimstream_models.bundle.contents import Contents
from dimstream_models.bundle.description import (
    Description,
    FileEntry,
    OnnxEntry,
    Tensor,
    Tolerance,
    parse_config,
    parse_description,
    parse_tolerance,
)
from dimstream_models.bundle.errors import (
    ExternalData,
    InvalidBundle,
    MissingFile,
    UnsupportedModel,
)
from dimstream_models.bundle.model import Bundle, ErrorBar
from dimstream_models.bundle.onnx_file import check_onnx
from dimstream_models.bundle.schema import DimstreamConfig, ErrorBarRecord
from dimstream_models.bundle.tensors import DEFAULT_TOLERANCE, LARGEST_TOLERANCE, MAX_TENSOR_BYTES, from_npy

MAX_TEXT_BYTES = 2**20
SUM_TOLERANCE = 1e-3
"""Largest difference of the sum of a pixel's probabilities from 1."""


def read_bundle(path: str | PathLike[str]) -> Bundle:
    """Return the bundle in a folder or zip, after its files were checked by hash.

    `check_test_tensor` checks whether the network reproduces its test output; this needs a runtime.

    Parameters
    ----------
    path
        Folder, or zip, with ``bioimageio.yaml`` at its top.

    Raises
    ------
    BundleError
        Each reason has its own class, listed in `dimstream_models.bundle.errors`.
    """
    source = Path(path)
    with files.open_contents(source) as contents:
        described = _described(contents, source)
        config = parse_config(described)
        _check_other_files(contents, described, config)
        return _bundle(source, contents, described, config)


def read_attachment(bundle: Bundle, name: str) -> bytes:
    """Return the bytes of an attachment of the bundle, after its hash was checked again.

    Parameters
    ----------
    bundle
        As `read_bundle` returned it; its folder or zip must still exist.
    name
        One of `Bundle.attachments`.

    Raises
    ------
    BundleError
        As `read_bundle`; `MissingFile` when the bundle names no such attachment.
    """
    with files.open_contents(bundle.source) as contents:
        for entry in _described(contents, bundle.source).attachments:
            if entry.source == name:
                return _read(contents, entry, where="attachments", limit=files.MAX_FILE_BYTES)
    raise MissingFile(f"{bundle.source} has no attachment {name!r}; it has {list(bundle.attachments)}")


def _described(contents: Contents, source: Path) -> Description:
    name = files.description_name(contents, source)
    text = files.read(contents, name, where=str(source), limit=yaml_text.MAX_YAML_BYTES)
    return parse_description(yaml_text.parse(text, name=name), name=name)


def _bundle(
    source: Path, contents: Contents, described: Description, config: DimstreamConfig | None
) -> Bundle:
    taken, given = _single(described.inputs, "inputs"), _single(described.outputs, "outputs")
    classes = () if config is None or config.class_output is None else config.class_output.classes
    input_axes, output_axes = (
        declared_processing.layout(taken, where="inputs.0"),
        declared_processing.layout(given, where="outputs.0", channels=classes),
    )
    step, min_side = declared_processing.sides(taken)
    declared_processing.check_same_size(taken, given)
    before, after = declared_processing.preprocessing(taken), declared_processing.postprocessing(given)
    if classes and after:
        raise UnsupportedModel(
            f"outputs.0.postprocessing: expected none for probabilities of classes, got {after[0]}"
        )
    onnx = _weights(contents, described.weights.onnx, ours=config is not None)
    test_input = _test_tensor(contents, taken, where="inputs.0.test_tensor", ours=config is not None)
    test_output = _test_tensor(contents, given, where="outputs.0.test_tensor", ours=config is not None)
    _check_shapes(
        test_input,
        test_output[..., :1, :, :] if classes else test_output,
        input_axes,
        output_axes,
        step,
        min_side,
    )
    if classes:
        _check_probabilities(test_output, output_axes, classes)
    tolerance = _tolerance(described, test_output)
    return Bundle(
        id=_served_id(described.id or source.stem),
        name=described.name,
        description=described.description,
        source=source,
        sha256=hashlib.sha256(onnx).hexdigest(),
        onnx=onnx,
        input_axes=input_axes,
        output_axes=output_axes,
        step=step,
        min_side=min_side,
        preprocessing=before,
        postprocessing=after,
        config=config,
        test_input=test_input,
        test_output=test_output,
        documentation=_documentation(contents, described.documentation),
        relative_tolerance=tolerance.relative_tolerance,
        absolute_tolerance=tolerance.absolute_tolerance,
        attachments=tuple(entry.source for entry in described.attachments if not entry.is_remote),
        error_bar=_error_bar(contents, described, None if config is None else config.error_bar, test_input),
    )


def _error_bar(
    contents: Contents, described: Description, record: ErrorBarRecord | None, test_input: Array
) -> ErrorBar | None:
    if record is None:
        return None
    onnx = _attached(contents, described, record.source, limit=files.MAX_FILE_BYTES)
    check_onnx(onnx, name=record.source)
    stated = _attached(contents, described, record.test_output, limit=MAX_TENSOR_BYTES)
    test_output = from_npy(stated, where=record.test_output)
    if test_output.shape != test_input.shape:
        raise InvalidBundle(
            f"{record.test_output} has shape {test_output.shape}; expected that of the test input,"
            f" {test_input.shape}"
        )
    return ErrorBar(record, onnx, test_output)


def _attached(contents: Contents, described: Description, name: str, *, limit: int) -> bytes:
    for entry in described.attachments:
        if entry.source == name:
            _require_hash(entry, where=f"attachments {name!r}", ours=True)
            return _read(contents, entry, where="config.dimstream.error_bar", limit=limit)
    raise MissingFile(f"config.dimstream.error_bar names {name!r}, which is not one of the attachments")


def _single(tensors: tuple[Tensor, ...], where: str) -> Tensor:
    if len(tensors) != 1:
        raise UnsupportedModel(
            f"{where}: the model has {len(tensors)}; expected an image-to-image model with one"
        )
    return tensors[0]


def _weights(contents: Contents, entry: OnnxEntry | None, *, ours: bool) -> bytes:
    where = "weights.onnx"
    if entry is None:
        raise UnsupportedModel(f"{where} is missing; dimstream runs ONNX weights: export the model to ONNX")
    if entry.external_data is not None:
        raise ExternalData(
            f"{where}.external_data names {entry.external_data.source!r}; a bundle's ONNX file holds all of "
            "its weights: export with external_data=False"
        )
    _require_hash(entry, where=where, ours=ours)
    onnx = _read(contents, entry, where=where, limit=files.MAX_FILE_BYTES)
    check_onnx(onnx, name=entry.source)
    return onnx


def _test_tensor(contents: Contents, tensor: Tensor, *, where: str, ours: bool) -> Array:
    if tensor.test_tensor is None:
        raise InvalidBundle(
            f"{where} is missing; a model is served only after it has reproduced its test tensor"
        )
    _require_hash(tensor.test_tensor, where=where, ours=ours)
    return from_npy(_read(contents, tensor.test_tensor, where=where, limit=MAX_TENSOR_BYTES), where=where)


def _tolerance(described: Description, test_output: Array) -> Tolerance:
    tolerance, largest = parse_tolerance(described), float(test_output.max())
    if tolerance.absolute_tolerance > max(LARGEST_TOLERANCE * largest, DEFAULT_TOLERANCE):
        raise InvalidBundle(
            "config.bioimageio.reproducibility_tolerance: absolute_tolerance"
            f" {tolerance.absolute_tolerance:g} is more than {LARGEST_TOLERANCE:g} of the test output's"
            f" largest value {largest:g}; with such a large tolerance, a wrong network would pass"
        )
    return tolerance


def _documentation(contents: Contents, entry: FileEntry | None) -> str:
    if entry is None or entry.is_remote:
        return ""
    try:
        return _read(contents, entry, where="documentation", limit=MAX_TEXT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidBundle(f"documentation: {entry.source!r} is not UTF-8 text: {error}") from error


def _check_other_files(contents: Contents, described: Description, config: DimstreamConfig | None) -> None:
    verified: set[FileEntry] = set()  # a file that is named ten thousand times is hashed once
    for field, entries in (("covers", described.covers), ("attachments", described.attachments)):
        for number, entry in enumerate(entries):
            if not entry.is_remote and entry not in verified:
                files.verify(contents, entry.source, where=f"{field}.{number}", sha256=entry.sha256)
                verified.add(entry)
    for name, sha256 in ({} if config is None else config.files).items():
        files.verify(contents, name, where="config.dimstream.files", sha256=sha256)


def _read(contents: Contents, entry: FileEntry, *, where: str, limit: int) -> bytes:
    if entry.is_remote:
        raise MissingFile(
            f"{where} is {entry.source!r}, which is not in the bundle; download the packaged model"
        )
    return files.read(contents, entry.source, where=where, limit=limit, sha256=entry.sha256)


def _require_hash(entry: FileEntry, *, where: str, ours: bool) -> None:
    if ours and entry.sha256 is None:
        raise InvalidBundle(f"{where}.sha256 is missing; a bundle with config.dimstream must state it")


def _check_shapes(
    test_input: Array, test_output: Array, input_axes: str, output_axes: str, step: int, min_side: int
) -> None:
    for where, tensor, axes in (
        ("inputs.0", test_input, input_axes),
        ("outputs.0", test_output, output_axes),
    ):
        if tensor.ndim != len(axes) or any(side != 1 for side in tensor.shape[:-2]):
            raise InvalidBundle(
                f"{where}.test_tensor has shape {tensor.shape}; axes {axes!r} require one frame with one "
                "channel"
            )
    if any(side % step or side < min_side for side in test_input.shape[-2:]):
        raise InvalidBundle(
            f"inputs.0.test_tensor has shape {test_input.shape}; sides must be multiples of {step}, and at "
            f"least {min_side}"
        )
    if test_input.shape[-2:] != test_output.shape[-2:]:
        raise UnsupportedModel(
            f"the test output {test_output.shape} is not as large as the test input {test_input.shape}"
        )


def _check_probabilities(test_output: Array, axes: str, classes: tuple[str, ...]) -> None:
    """Check that a test output (1, C, H, W) holds a probability for each class."""
    found = test_output.shape[axes.index("c")]
    if found != len(classes):
        raise InvalidBundle(f"outputs.0.test_tensor has {found} channels, expected {len(classes)} classes")
    sums = test_output.sum(axis=axes.index("c"))
    if test_output.min() < 0 or not (abs(sums - 1) < SUM_TOLERANCE).all():
        raise InvalidBundle(
            f"outputs.0.test_tensor: expected probabilities that add up to 1, got values"
            f" from {float(test_output.min()):g} with sums from {float(sums.min()):g} to"
            f" {float(sums.max()):g}: let the network end in a softmax"
        )


def _served_id(stated: str) -> str:
    """Return the stated id with dashes in place of characters that have a meaning in a URL."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stated).strip("-.") or "model"
