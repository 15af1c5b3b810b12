"""A bundle as the draft from which it was written, so that parts of it can be changed."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from dimstream_models.bundle import contents as files
from dimstream_models.bundle import yaml_text
from dimstream_models.bundle.contents import Contents
from dimstream_models.bundle.errors import InvalidBundle, UnsupportedModel
from dimstream_models.bundle.model import Author, Bundle, BundleDraft, Citation
from dimstream_models.bundle.processing import EnsureDtype
from dimstream_models.bundle.reading import read_attachment, read_bundle
from dimstream_models.bundle.writing import COVER, MAX_COVER_BYTES, description_of


@contextmanager
def open_draft(path: str | PathLike[str]) -> Iterator[BundleDraft]:
    """Yield the draft from which `write_bundle` makes the same bundle again, byte for byte.

    Attachments are copied to a temporary folder, which exists as long as the context. So the draft may also
    replace the bundle itself.

    Parameters
    ----------
    path
        Folder or zip, as `write_bundle` or `pack_bundle` wrote it.

    Raises
    ------
    BundleError
        As `read_bundle`; `UnsupportedModel` when the bundle states something that `write_bundle` cannot write
        and that would be lost.
    """
    bundle = read_bundle(path)
    raw, cover = _description_and_cover(Path(path))
    with tempfile.TemporaryDirectory() as scratch:
        draft = _draft(bundle, raw, cover, _copied(bundle, Path(scratch)))
        if description_of(draft, dict(_hashes(raw))) != raw:
            raise UnsupportedModel(
                f"{path}: the description was not written by dimstream, or was changed by hand, so it cannot"
                " be written again without loss; export the model again"
            )
        yield draft


def _description_and_cover(path: Path) -> tuple[dict[str, Any], bytes]:
    with files.open_contents(path) as contents:
        return _description(contents, path), files.read(
            contents, COVER, where="covers", limit=MAX_COVER_BYTES
        )


def _description(contents: Contents, path: Path) -> dict[str, Any]:
    name = files.description_name(contents, path)
    text = files.read(contents, name, where=str(path), limit=yaml_text.MAX_YAML_BYTES)
    return yaml_text.parse(text, name=name)


def _copied(bundle: Bundle, folder: Path) -> dict[str, Path]:
    copies = {name: folder / name for name in bundle.attachments}
    for name, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(read_attachment(bundle, name))
    return copies


def _draft(
    bundle: Bundle, raw: Mapping[str, Any], cover: bytes, attachments: Mapping[str, Path]
) -> BundleDraft:
    if bundle.config is None:
        raise UnsupportedModel(f"{bundle.source} has no config.dimstream: other software wrote this bundle")
    try:
        authors = tuple(Author(**author) for author in raw["authors"])
        citations = tuple(Citation(**work) for work in raw["cite"])
        licence = None if raw["license"] is None else str(raw["license"])
        tags, version = tuple(raw["tags"]), str(raw["version"])
    except (KeyError, TypeError) as error:
        raise InvalidBundle(
            f"{bundle.source}: authors, cite, license, tags or version are not as dimstream writes"
            f" them: {error!r}; export the model again"
        ) from error
    return BundleDraft(
        id=bundle.id,
        name=bundle.name,
        description=bundle.description,
        authors=authors,
        licence=licence,
        documentation=bundle.documentation,
        cover=cover,
        onnx=bundle.onnx,
        test_input=bundle.test_input,
        test_output=bundle.test_output,
        config=bundle.config.model_copy(update={"files": {}}),
        preprocessing=tuple(step for step in bundle.preprocessing if not isinstance(step, EnsureDtype)),
        step=bundle.step,
        min_side=bundle.min_side,
        gain=1.0 if bundle.gain is None else bundle.gain,
        offset=0.0 if bundle.offset is None else bundle.offset,
        clip_min=bundle.clip_min,
        clip_max=bundle.clip_max,
        absolute_tolerance=bundle.absolute_tolerance if "bioimageio" in raw["config"] else None,
        attachments=attachments,
        citations=citations,
        tags=tags,
        version=version,
    )


def _hashes(node: Any) -> Iterator[tuple[str, str]]:
    """Yield the path and sha256 of every file that a description names."""
    if isinstance(node, dict):
        if isinstance(node.get("source"), str) and isinstance(node.get("sha256"), str):
            yield node["source"], node["sha256"]
        for key, value in node.items():
            yield from value.items() if key == "files" and isinstance(value, dict) else _hashes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _hashes(value)
