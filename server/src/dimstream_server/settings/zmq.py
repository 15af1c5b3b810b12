"""``[zmq]``: the endpoint of streams."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from dimstream_server.addresses import check_zmq_endpoint
from dimstream_server.settings.table import Table


class ZmqTable(Table):
    """``[zmq]``: the streaming endpoint."""

    endpoint: Annotated[
        str, AfterValidator(check_zmq_endpoint), Field(description="where the ROUTER binds; port 0 picks one")
    ] = "tcp://127.0.0.1:5570"
    window: Annotated[
        int, Field(ge=1, le=1024, description="frames in flight when OPEN names no window (`lossless`)")
    ] = 8
    max_window: Annotated[int, Field(ge=1, le=1024, description="largest window that OPEN may ask for")] = 64
    max_connections: Annotated[
        int, Field(ge=2, le=65536, description="connections at the same time; idle ones give way")
    ] = 512
    silence_s: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="silence, even to pings, after which a connection is closed",
        ),
    ] = 30.0
    lease_s: Annotated[
        float,
        Field(gt=0, le=31_536_000, description="time in which the stream of a lost client can be resumed"),
    ] = 86_400.0
    server_secret_key: Annotated[
        Path | None, Field(description="the server's CURVE key; connections are encrypted")
    ] = None
    allowed_clients: Annotated[
        Path | None, Field(description="folder of .pub files, or a file: the clients that may connect")
    ] = None

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.window > self.max_window:
            raise ValueError(f"window {self.window} is larger than max_window {self.max_window}")
        return self

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.server_secret_key is None) != (self.allowed_clients is None):
            raise ValueError(
                "expected both server_secret_key and allowed_clients, or neither, got one; "
                "`dimstream-server keygen FOLDER` makes the key"
            )
        return self
