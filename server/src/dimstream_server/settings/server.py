"""``[server]``: which models are served, and on which devices."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from dimstream_server.errors import DeviceUnavailable
from dimstream_server.pipeline.device_name import parse_device
from dimstream_server.settings.table import Table

IN_MEMORY = "memory"


def _as_list(one: object) -> object:
    return (one,) if isinstance(one, str) else one


def _at_least_one(bundles: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
    if bundles == ():
        raise ValueError(
            "expected at least one bundle, got an empty list; leave the setting out to serve the bundle "
            "that comes with dimstream"
        )
    return bundles


def _check_device(text: str) -> str:
    try:
        parse_device(text)
    except DeviceUnavailable as error:
        raise ValueError(str(error)) from error
    return text


class ServerTable(Table):
    """``[server]``: what is served, and on what."""

    bundles: Annotated[
        tuple[Path, ...] | None,
        AfterValidator(_at_least_one),
        Field(
            description="model bundles to serve: folders, zips, names of those that ship; by default"
            " er-sted-light"
        ),
    ] = None
    bundle_folders: Annotated[
        tuple[Path, ...],
        Field(
            description="folders whose bundles may be loaded by HTTP while the server runs; none: no bundle"
        ),
    ] = ()
    device: Annotated[
        tuple[Annotated[str, AfterValidator(_check_device)], ...],
        BeforeValidator(_as_list),
        Field(
            min_length=1,
            max_length=64,
            description="`cpu`, `cuda:N`, each with its precision, or a list of them",
        ),
    ] = ("cpu",)
    threads: Annotated[
        int | None,
        Field(ge=1, le=1024, description="CPU threads of one run; without it CPU devices share the cores"),
    ] = None
    keep_warm_s: Annotated[
        float | None,
        Field(
            ge=0.01,
            le=3600,
            description="a device with streams that waited so long denoises an empty frame; none: never",
        ),
    ] = None
    ready_file: Annotated[Path | None, Field(description="JSON written once every bundle is warm")] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="least severe event that is logged")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Field(description="how an event is written, one a line")
    ] = "text"
    drain_s: Annotated[
        float, Field(gt=0, le=3600, description="longest time that a stop waits for accepted frames")
    ] = 60.0
    state: Annotated[
        Literal["memory"] | Path | None,
        Field(description="folder of the journal, by which streams survive a restart; `memory`: they do not"),
    ] = None
    suspect_after: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="judged frames in a row that make a plane suspect, or good again",
        ),
    ] = 3
    insecure_lan: Annotated[
        bool,
        Field(description="listen for other machines without keys and tokens: open to everyone"),
    ] = False
