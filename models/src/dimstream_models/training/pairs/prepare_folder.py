"""From image files to a prepared folder: read, check, register, crop, store, assign roles, report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.data_split import View, give_roles
from dimstream_models.training.pairs.data_warnings import notes
from dimstream_models.training.pairs.fields_of_view import connect, look_alike
from dimstream_models.training.pairs.listing import ListedPair, list_pairs
from dimstream_models.training.pairs.pair_storage import FieldStore, Stored
from dimstream_models.training.pairs.prepared import (
    FIELDS,
    INDEX,
    FieldsOfView,
    Prepared,
    PreparedIndex,
    PrepareSettings,
    identity,
    is_prepared,
    read_prepared,
)
from dimstream_models.training.pairs.report import write_report


def prepare(
    sources: Sequence[Path], out: Path, settings: PrepareSettings, *, replace: bool = False
) -> Prepared:
    """Prepare a folder at `out`, with registered pairs, their roles and a quality report, and return it.

    Parameters
    ----------
    sources : sequence of Path
        Folders of measurement days, CSV lists, or images of low dose alone: see `list_pairs`.
    out : Path
        Created here, with its parents; it appears only when it is complete.
    settings : PrepareSettings
        Registration, offsets, roles.
    replace : bool
        Whether to replace a prepared folder.

    Raises
    ------
    InvalidPairs
        When files do not match, do not hold counts, are copies of each other or swapped, are shifted by more
        than the bound, or do not suffice for the roles. Then nothing is written.
    """
    _check_target(out, replace=replace)
    listed = list_pairs(sources)
    _refuse_mixture(listed)
    with _new_folder(out) as part:
        store = FieldStore(part, settings)
        store.add_all(listed)
        noise = {dose: meter.statistics() for dose, meter in store.noise.items()}
        index = _index(store, notes(store, noise))
        write_report(Prepared(part, index, identity(index.fields)), store.overlays, noise)
        (part / INDEX).write_text(index.model_dump_json(indent=1) + "\n")
    return read_prepared(out)


def _refuse_mixture(listed: Sequence[ListedPair]) -> None:
    alone = [pair.name for pair in listed if pair.high is None]
    if alone and len(alone) < len(listed):
        raise InvalidPairs(
            f"expected a high dose for every pair, or for none, got none for {', '.join(alone[:9])}: "
            "prepare these separately, to split their photons"
        )


def _index(store: FieldStore, message: tuple[str, ...]) -> PreparedIndex:
    stored, settings = store.stored, store.settings
    groups = connect(len(stored), _links(stored, settings.fields_of_view))
    members: dict[int, list[Stored]] = {}
    for each, group in zip(stored, groups, strict=True):
        members.setdefault(group, []).append(each)
    views = {group: _view(those) for group, those in members.items()}
    roles = give_roles(list(views.values()), settings)
    fields = tuple(
        each.field.model_copy(
            update={"field_of_view": views[group].name, "role": roles.of[views[group].name]}
        )
        for each, group in zip(stored, groups, strict=True)
    )
    return PreparedIndex(
        settings=settings,
        pixel_size_nm=store.pixel_size_nm(),
        high_factor=store.high_factor,
        notes=message,
        roles=roles.reason,
        matched_by_order=tuple(
            dict.fromkeys(each.listed.day for each in stored if each.listed.matched == "order")
        ),
        left_out=tuple(store.left_out),
        fields=fields,
    )


def _links(stored: Sequence[Stored], fields_of_view: FieldsOfView) -> Iterator[tuple[int, int]]:
    """Yield every two images that show the same field of view."""
    first_of: dict[object, int] = {}
    for index, each in enumerate(stored):
        if each.listed.field is not None:
            yield first_of.setdefault((each.listed.day, each.listed.field), index), index
        if fields_of_view == "files":
            yield first_of.setdefault(each.listed.name, index), index
    if fields_of_view == "measured":
        yield from look_alike([each.sketch for each in stored])


def _view(members: Sequence[Stored]) -> View:
    return View(
        members[0].field.name,
        frozenset(each.field.day for each in members),
        frozenset(each.listed.role for each in members),
    )


def _check_target(out: Path, *, replace: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (replace and is_prepared(out)):
        holds = "holds prepared pairs: give --replace" if is_prepared(out) else "is no prepared folder"
        raise InvalidPairs(f"expected a new folder, got {out}, which {holds}; or choose another --out")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to fill, and move it to `out` when it is complete; remove it after any error."""
    part, old = (out.absolute().with_name(f".{out.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    try:
        (part / FIELDS).mkdir(parents=True)
        yield part
        if out.exists():
            out.rename(old)
        part.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)
