"""``[limits]``: what both endpoints refuse."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from dimstream_server.settings.table import MIB, MOST_BYTES, Table


class LimitsTable(Table):
    """``[limits]``: what both endpoints refuse."""

    max_frame_bytes: Annotated[
        int, Field(ge=1024, le=MOST_BYTES, description="largest frame, in bytes of its pixels")
    ] = 128 * MIB
    max_models: Annotated[
        int, Field(ge=1, le=1024, description="models served at the same time; further ones are not loaded")
    ] = 16
    max_streams: Annotated[int, Field(ge=1, le=65536, description="streams open at the same time")] = 64
    max_credit: Annotated[
        int, Field(ge=1, description="frames in flight of all streams; bounds the memory they take")
    ] = 512
    max_credit_bytes: Annotated[
        int, Field(ge=1024, description="bytes of the frames in flight of all streams, and of their maps")
    ] = 4096 * MIB
    max_plane_bytes: Annotated[
        int, Field(ge=1024, description="bytes of what planes are compared with: their last predictions")
    ] = 4096 * MIB

    max_network_bytes: Annotated[
        int | None,
        Field(
            ge=1024 * 1024,
            description="memory that a frame may take while it is denoised; without it 0.6 of the machine's,"
            " or the container's, shared by CPU devices",
        ),
    ] = None

    max_kept_streams: Annotated[
        int, Field(ge=1, le=65536, description="streams of disconnected clients that can be resumed")
    ] = 1024
    max_streams_per_client: Annotated[
        int, Field(ge=1, le=65536, description="streams that one client (key, or connection) may have open")
    ] = 32
    max_credit_per_client: Annotated[
        int, Field(ge=1, description="frames in flight of all streams of one client")
    ] = 256
    max_requests_per_client: Annotated[
        int, Field(ge=1, le=1024, description="requests of one client (token, or address) at the same time")
    ] = 6
    max_connections_per_address: Annotated[
        int, Field(ge=1, le=65536, description="HTTP connections of one address at the same time")
    ] = 256
    max_requests_per_s_per_client: Annotated[
        int, Field(ge=1, le=1_000_000, description="OPENs and HTTP requests of one client in a second")
    ] = 1000

    @model_validator(mode="after")
    def _a_frame_fits(self) -> Self:
        # a byte a pixel may become a float32, and a byte of its map, or what is kept to compare it with
        for name, times in (("max_credit_bytes", 5), ("max_plane_bytes", 6)):
            if getattr(self, name) < times * self.max_frame_bytes:
                raise ValueError(
                    f"{name} must be at least {times} * max_frame_bytes, got {getattr(self, name)}"
                )
        return self
