"""Writing a bundle: the same draft gives the same bytes, and a partly written bundle is never visible."""

import hashlib
import os
import re
import shutil
import zipfile
from dataclasses import replace as replaced
from os import PathLike
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from dimstream_models.bundle import yaml_text
from dimstream_models.bundle.contents import DESCRIPTION_NAMES, safe_name
from dimstream_models.bundle.description import STANDARD_VERSION
from dimstream_models.bundle.errors import BundleExists, InvalidBundle, MissingFile
from dimstream_models.bundle.model import Author, Bundle, BundleDraft
from dimstream_models.bundle.onnx_file import check_onnx
from dimstream_models.bundle.processing import Clip, ScalePercentiles, Step, ZeroMeanUnitVariance
from dimstream_models.bundle.reading import read_bundle
from dimstream_models.bundle.tensors import to_npy

DESCRIPTION, WEIGHTS, README, COVER = DESCRIPTION_NAMES[0], "weights.onnx", "README.md", "cover.png"
TEST_INPUT, TEST_OUTPUT = "test_input.npy", "test_output.npy"
RESERVED = frozenset({*DESCRIPTION_NAMES, WEIGHTS, README.lower(), COVER, TEST_INPUT, TEST_OUTPUT})

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
RELATIVE_TOLERANCE = 1e-3
"""Relative tolerance of the test output; the standard's default."""
MAX_COVER_BYTES = 500_000
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can state; a fixed time, so that the same files give the same zip."""


def write_bundle(folder: str | PathLike[str], draft: BundleDraft, *, replace: bool = False) -> Bundle:
    """Write a bundle to `folder`, and return it as read back.

    Parameters
    ----------
    folder
        Created here, with its parents.
    draft
        What to write.
    replace
        Replace a bundle that exists there already, with its whole folder.

    Raises
    ------
    BundleExists
        When something exists at `folder` that may not be replaced.
    BundleError
        When the draft does not follow the format; then nothing is written.
    """
    target = Path(folder)
    check_target(target, replace=replace)
    _check_draft(draft)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / f".{target.name}.{os.getpid()}.part"
    try:
        part.mkdir()
        _write_files(part, draft)
        bundle = read_bundle(part)
        _put_in_place(part, target)
    finally:
        if part.exists():
            shutil.rmtree(part)
    return replaced(bundle, source=target)


def pack_bundle(folder: str | PathLike[str], zip_path: str | PathLike[str]) -> Bundle:
    """Pack a bundle into one zip, and return it as read back; the same folder always gives the same bytes.

    Parameters
    ----------
    folder
        A bundle; it is checked before packing.
    zip_path
        Written, or replaced.

    Raises
    ------
    BundleError
        As `read_bundle`.
    """
    root, target = read_bundle(folder).source, Path(zip_path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    packed = sorted(path for path in root.rglob("*") if path.is_file())
    try:
        with zipfile.ZipFile(part, "w") as archive:
            for path in packed:
                entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), ZIP_TIME)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return read_bundle(target)


def description_of(draft: BundleDraft, hashes: dict[str, str]) -> dict[str, JsonValue]:
    """Return the description that `write_bundle` writes.

    Parameters
    ----------
    draft
        What to write.
    hashes
        sha256 of each file, by its path inside the bundle.
    """
    opset = check_onnx(draft.onnx, name=WEIGHTS)
    config = draft.config.model_copy(update={"files": {name: hashes[name] for name in (README, COVER)}})
    return {
        "format_version": STANDARD_VERSION,
        "type": "model",
        "id": draft.id,
        "name": draft.name,
        "version": draft.version,
        "description": draft.description,
        "authors": [_author(author) for author in draft.authors],
        "license": draft.licence,
        "cite": [{"text": work.text, "doi": work.doi} for work in draft.citations],
        "tags": list(draft.tags),
        "documentation": README,
        "covers": [COVER],
        "attachments": [_file(name, hashes) for name in sorted(draft.attachments)],
        "inputs": [_input(draft, hashes)],
        "outputs": [_output(draft, hashes)],
        "weights": {"onnx": {**_file(WEIGHTS, hashes), "opset_version": opset}},
        "config": {**_tolerance(draft), "dimstream": config.model_dump(mode="json")},
    }


def check_target(target: Path, *, replace: bool) -> None:
    """Check that a bundle may be written to a folder, before any work is done.

    Raises
    ------
    BundleExists
        When something exists there that may not be replaced.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not replace:
        raise BundleExists(f"{target} exists already; choose another folder, or ask to replace it")
    if not (target / DESCRIPTION).is_file():
        raise BundleExists(
            f"{target} holds something other than a bundle, so it is not replaced; choose another folder"
        )


def _check_draft(draft: BundleDraft) -> None:
    for field, value, pattern in (
        ("id", draft.id, r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?"),
        ("name", draft.name, r"[A-Za-z0-9_+\- ()]{5,128}"),
        ("version", draft.version, r"\d+\.\d+\.\d+"),
    ):
        if not re.fullmatch(pattern, value):
            raise InvalidBundle(
                f"{field} {value!r} does not match {pattern}, which BioImage.IO or URLs require"
            )
    if not draft.authors or any("/" in author.name or "\\" in author.name for author in draft.authors):
        raise InvalidBundle("authors: expected at least one, with names without slashes")
    if not re.search("#.*[vV]alidation", draft.documentation):
        raise InvalidBundle("documentation: expected a section '# Validation', which the standard requires")
    if not draft.cover.startswith(PNG_MAGIC) or len(draft.cover) > MAX_COVER_BYTES:
        raise InvalidBundle(f"cover: expected a PNG of at most {MAX_COVER_BYTES} bytes")
    if draft.config.files:
        raise InvalidBundle("config.files is filled in when the bundle is written; leave it empty")
    _check_processing(draft)
    for name, path in draft.attachments.items():
        if safe_name(name, where="attachments").lower() in RESERVED:
            raise InvalidBundle(f"attachments: {name!r} is the name of another file of the bundle")
        if not path.is_file():
            raise MissingFile(f"attachments: {name!r} should be copied from {path}, but there is no file")


def _check_processing(draft: BundleDraft) -> None:
    scaled = (draft.gain, draft.offset) != (1.0, 0.0) or (draft.clip_min, draft.clip_max) != (None, None)
    if scaled and draft.config.class_output is not None:
        raise InvalidBundle(
            "gain, offset, clip_min and clip_max are for counts; leave them out for probabilities of classes"
        )


def _write_files(root: Path, draft: BundleDraft) -> None:
    written = {
        WEIGHTS: draft.onnx,
        TEST_INPUT: to_npy(draft.test_input.astype(np.float32)),
        TEST_OUTPUT: to_npy(draft.test_output.astype(np.float32)),
        README: draft.documentation.encode("utf-8"),
        COVER: draft.cover,
    }
    for name, data in written.items():
        (root / name).write_bytes(data)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in written.items()}
    for name, path in sorted(draft.attachments.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, root / name)
        hashes[name] = hashlib.sha256((root / name).read_bytes()).hexdigest()
    (root / DESCRIPTION).write_bytes(yaml_text.dump(description_of(draft, hashes)))


def _put_in_place(part: Path, target: Path) -> None:
    if not target.exists():
        part.rename(target)
        return
    old = target.parent / f".{target.name}.{os.getpid()}.old"
    target.rename(old)
    part.rename(target)
    shutil.rmtree(old)


def _tolerance(draft: BundleDraft) -> dict[str, JsonValue]:
    if draft.absolute_tolerance is None:
        return {}
    stated: dict[str, JsonValue] = {
        "relative_tolerance": RELATIVE_TOLERANCE,
        "absolute_tolerance": float(draft.absolute_tolerance),
    }
    return {"bioimageio": {"reproducibility_tolerance": [stated]}}


def _author(author: Author) -> dict[str, JsonValue]:
    stated = {"name": author.name, "affiliation": author.affiliation, "orcid": author.orcid}
    return {field: value for field, value in stated.items() if value is not None}


def _file(name: str, hashes: dict[str, str]) -> dict[str, JsonValue]:
    return {"source": name, "sha256": hashes[name]}


def _input(draft: BundleDraft, hashes: dict[str, str]) -> dict[str, JsonValue]:
    size: dict[str, JsonValue] = {"min": draft.min_side, "step": draft.step}
    return {
        "id": "input",
        "description": "photon counts",
        "axes": [*_leading_axes("counts"), _space("y", draft, dict(size)), _space("x", draft, dict(size))],
        "test_tensor": _file(TEST_INPUT, hashes),
        "data": {"type": "float32"},
        "preprocessing": _preprocessing(draft),
    }


def _output(draft: BundleDraft, hashes: dict[str, str]) -> dict[str, JsonValue]:
    axes = [_space(axis, draft, {"tensor_id": "input", "axis_id": axis}) for axis in "yx"]
    given = draft.config.class_output
    if given is not None:
        return {
            "id": "output",
            "description": "probability of each class",
            "axes": [*_leading_axes(*given.classes), *axes],
            "test_tensor": _file(TEST_OUTPUT, hashes),
            "data": {"type": "float32"},
        }
    return {
        "id": "output",
        "description": "denoised photon counts",
        "axes": [*_leading_axes("denoised"), *axes],
        "test_tensor": _file(TEST_OUTPUT, hashes),
        "data": {"type": "float32"},
        "postprocessing": _postprocessing(draft),
    }


def _leading_axes(*channels: str) -> list[JsonValue]:
    return [{"type": "batch", "size": 1}, {"type": "channel", "channel_names": [*channels]}]


def _space(axis: str, draft: BundleDraft, size: dict[str, JsonValue]) -> dict[str, JsonValue]:
    described: dict[str, JsonValue] = {"type": "space", "id": axis, "size": size}
    if draft.config.pixel_size_nm is None:
        return described
    return {**described, "unit": "nanometer", "scale": draft.config.pixel_size_nm}


def _preprocessing(draft: BundleDraft) -> list[JsonValue]:
    return [{"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}, *map(_written_step, draft.preprocessing)]


def _written_step(step: Step) -> dict[str, JsonValue]:
    """Return the description's entry of a preprocessing step; statistics are those of the whole frame."""
    match step:
        case ZeroMeanUnitVariance(eps=eps):
            return {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["y", "x"], "eps": float(eps)}}
        case ScalePercentiles(low=low, high=high, eps=eps):
            bounds: dict[str, JsonValue] = {"min_percentile": float(low), "max_percentile": float(high)}
            return {"id": "scale_range", "kwargs": {"axes": ["y", "x"], **bounds, "eps": float(eps)}}
        case Clip(minimum=minimum, maximum=maximum):
            limits = {"min": minimum, "max": maximum}
            stated = {name: float(value) for name, value in limits.items() if value is not None}
            return {"id": "clip", "kwargs": {**stated}}
        case _:
            raise InvalidBundle(
                f"preprocessing: expected ZeroMeanUnitVariance, ScalePercentiles or Clip, got {step}"
            )


def _postprocessing(draft: BundleDraft) -> list[JsonValue]:
    steps: list[JsonValue] = []
    if (draft.gain, draft.offset) != (1.0, 0.0):  # the standard forbids a step that changes nothing
        steps.append(
            {"id": "scale_linear", "kwargs": {"gain": float(draft.gain), "offset": float(draft.offset)}}
        )
    bounds = {"min": draft.clip_min, "max": draft.clip_max}
    if stated := {bound: float(value) for bound, value in bounds.items() if value is not None}:
        steps.append({"id": "clip", "kwargs": {**stated}})
    return steps
