"""A bundle goes back to its draft without loss, or is refused."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from shipped import BUNDLE

from dimstream_models import bundle
from dimstream_models.bundle import Author, Bundle, BundleDraft, open_draft, pack_bundle, write_bundle


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


DRAFTS = {
    "as it is": {},
    "half precision": {"absolute_tolerance": 0.2},
    "no scale": {"gain": 1.0, "offset": 0.0, "clip_min": None},
    "an author by name": {"authors": (Author("Ada"), Author("Ben", orcid="0000-0002-1825-0097"))},
    "no licence": {"licence": None},
    "other words": {"tags": ("denoising",), "version": "2.0.1", "licence": "MIT", "citations": ()},
}


@pytest.mark.parametrize("changes", DRAFTS.values(), ids=DRAFTS)
def test_a_bundle_is_written_again_byte_for_byte(
    draft: BundleDraft, tmp_path: Path, changes: dict[str, object]
) -> None:
    written = write_bundle(tmp_path / "first", dataclasses.replace(draft, **changes))  # type: ignore[arg-type]
    with open_draft(written.source) as again:
        write_bundle(tmp_path / "second", again)
    assert bytes_of(tmp_path / "second") == bytes_of(tmp_path / "first")


def test_the_bundle_that_ships_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    with open_draft(BUNDLE) as again:
        write_bundle(tmp_path / "second", again)
    assert bytes_of(tmp_path / "second") == bytes_of(BUNDLE)


def test_a_zip_opens_too_and_a_bundle_can_be_written_over_itself(written: Bundle, tmp_path: Path) -> None:
    before = bytes_of(written.source)
    pack_bundle(written.source, tmp_path / "tiny.zip")
    with open_draft(tmp_path / "tiny.zip") as again:
        write_bundle(written.source, again, replace=True)
    with open_draft(written.source) as again:
        write_bundle(written.source, again, replace=True)
    assert bytes_of(written.source) == before


CHANGES: dict[str, tuple[dict[str, object], type[bundle.BundleError], str]] = {
    "a key of the standard": ({"git_repo": "https://example.org"}, bundle.UnsupportedModel, "by hand"),
    "another config": ({"config": {"other": 1}}, bundle.UnsupportedModel, "other software wrote this bundle"),
    "an author's key": (
        {"authors": [{"name": "Ada", "github_user": "ada"}]},
        bundle.InvalidBundle,
        "unexpected keyword argument 'github_user'",
    ),
    "no tags": ({"tags": None}, bundle.InvalidBundle, "not as dimstream writes them"),
}


@pytest.mark.parametrize(("change", "error", "message"), CHANGES.values(), ids=CHANGES)
def test_what_would_be_lost_is_refused(
    written: Bundle, change: dict[str, object], error: type[bundle.BundleError], message: str
) -> None:
    path = written.source / "bioimageio.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}, sort_keys=False))
    with pytest.raises(error, match=message), open_draft(written.source):
        pass
