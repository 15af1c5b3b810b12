"""``[recording]``: what is recorded on the server."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dimstream_server.settings.table import MIB, Table


class RecordingTable(Table):
    """``[recording]``: what is recorded on the server."""

    folder: Annotated[
        Path | None, Field(description="where streams are recorded; without it, none can be")
    ] = None
    format: Annotated[
        Literal["tiff", "zarr"], Field(description="OME-TIFF, or OME-Zarr (needs `dimstream-server[zarr]`)")
    ] = "tiff"
    reserve_bytes: Annotated[
        int,
        Field(
            ge=16 * MIB,
            description="free space that recordings do not use: they stop before it",
        ),
    ] = 1024 * MIB
    warn_bytes: Annotated[
        int, Field(ge=16 * MIB, description="free space under which a warning is logged")
    ] = 16384 * MIB
    fsync: Annotated[
        Literal["never", "close", "frame"], Field(description="when to wait until the disk has the bytes")
    ] = "close"
    keep_days: Annotated[
        float | None,
        Field(
            ge=1, description="complete recordings are deleted this long after their end; without it, never"
        ),
    ] = None

    @model_validator(mode="after")
    def _warns_before_it_stops(self) -> Self:
        if self.warn_bytes < self.reserve_bytes:
            raise ValueError(
                f"warn_bytes must be at least reserve_bytes ({self.reserve_bytes}), got {self.warn_bytes}"
            )
        return self
