"""``[http]``: the endpoint of requests."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from dimstream_server.addresses import check_http_address
from dimstream_server.settings.table import MIB, Table


class HttpTable(Table):
    """``[http]``: the request endpoint."""

    address: Annotated[
        str, AfterValidator(check_http_address), Field(description="HOST:PORT to bind; port 0 picks one")
    ] = "127.0.0.1:8570"
    max_body_bytes: Annotated[int, Field(ge=1024, description="largest request body, as it arrives")] = (
        512 * MIB
    )
    max_requests: Annotated[int, Field(ge=1, le=1024, description="requests denoised at the same time")] = 8
    window: Annotated[int, Field(ge=1, le=1024, description="frames in flight of one request")] = 4
    stall_s: Annotated[
        float, Field(gt=0, le=3600, description="time over which the speed of a body is measured")
    ] = 30.0
    min_body_bytes_per_s: Annotated[
        int, Field(ge=1, description="bytes of a body per second that must come, as a mean over stall_s")
    ] = 65_536
    body_s: Annotated[
        float, Field(gt=0, le=86_400, description="longest time from the head of a request to its body's end")
    ] = 3600.0
    max_buffered_bytes: Annotated[
        int | None,
        Field(description="bytes of all bodies that arrive and answers that leave; one client: half"),
    ] = None
    head_s: Annotated[
        float, Field(gt=0, le=3600, description="time from the first byte of a request's head to its end")
    ] = 10.0
    max_connections: Annotated[
        int, Field(ge=1, le=65536, description="open at the same time; at most half of the descriptors")
    ] = 512
    keep_alive_s: Annotated[int, Field(ge=1, le=3600, description="how long an idle connection is kept")] = 75
    tokens: Annotated[
        Path | None, Field(description="folder of .token files, or a file: requests must carry one of them")
    ] = None
    viewer_tokens: Annotated[
        Path | None, Field(description="the same for tokens that only allow viewing; needs tokens")
    ] = None
    analysis_tokens: Annotated[
        Path | None,
        Field(
            description="the same for tokens that allow viewing and sending figures of frames; needs tokens"
        ),
    ] = None
    operator_tokens: Annotated[
        Path | None,
        Field(
            description="the same for tokens that also allow changing models and thresholds; none: nobody may"
        ),
    ] = None
    host_names: Annotated[
        tuple[str, ...],
        Field(description="names under which clients address the server, in addition to loopback names"),
    ] = ()

    @property
    def buffered_bytes(self) -> int:
        """What `max_buffered_bytes` is, or four times `max_body_bytes`."""
        return 4 * self.max_body_bytes if self.max_buffered_bytes is None else self.max_buffered_bytes

    @model_validator(mode="after")
    def _viewers_beside_others(self) -> Self:
        some = [name for name in ("viewer_tokens", "analysis_tokens") if getattr(self, name) is not None]
        if some and self.tokens is None:
            raise ValueError(
                f"expected tokens too, got {some[0]} alone: without tokens everyone may do everything; "
                "make some by `dimstream-server keygen FOLDER --token NAME`"
            )
        return self

    @model_validator(mode="after")
    def _a_body_fits(self) -> Self:
        if self.buffered_bytes < 2 * self.max_body_bytes:
            raise ValueError(
                "max_buffered_bytes must be at least 2 * max_body_bytes, as one client gets half of it, "
                f"got {self.max_buffered_bytes}"
            )
        return self
