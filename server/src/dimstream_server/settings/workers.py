"""``[workers]``: the servers that denoise for a gateway."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from dimstream_server.addresses import check_worker
from dimstream_server.settings.table import Table


def _check_workers(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(addresses)) < len(addresses):
        raise ValueError("expected each worker once, got one twice")
    return tuple(check_worker(address) for address in addresses)


class WorkersTable(Table):
    """``[workers]``: for `dimstream-server gateway`: the servers that denoise for it."""

    addresses: Annotated[
        tuple[str, ...],
        AfterValidator(_check_workers),
        Field(description="ZeroMQ endpoints of the workers, tcp://HOST:PORT"),
    ] = ()
    file: Annotated[
        Path | None, Field(description="file with further ones, one a line; read again at SIGHUP")
    ] = None
    ray: Annotated[
        str | None,
        Field(min_length=1, description="Ray cluster that places workers: HOST:PORT, or auto; needs `[ray]`"),
    ] = None
    ray_workers: Annotated[int, Field(ge=0, le=256, description="workers that Ray keeps")] = 2
    ray_cpus: Annotated[
        float, Field(ge=0, le=1024, description="processor cores that Ray sets aside for each")
    ] = 1.0
    ray_gpus: Annotated[float, Field(ge=0, le=64, description="cards that Ray sets aside for each")] = 0.0
    ray_settings: Annotated[
        Path | None, Field(description="settings file of these workers, at this place on each machine")
    ] = None
    store: Annotated[
        str | None,
        Field(min_length=1, description="folder or http(s):// address of bundles by hash; none: same paths"),
    ] = None
    server_key: Annotated[
        Path | None, Field(description="the workers' public CURVE key, which they share")
    ] = None
    key: Annotated[Path | None, Field(description="the gateway's secret key, admitted at each worker")] = None
    silence_s: Annotated[float, Field(gt=0, le=3600, description="silence after which a worker is lost")] = (
        10.0
    )
    wait_s: Annotated[
        float, Field(ge=0, le=3600, description="longest time that a start waits for a worker of each model")
    ] = 30.0

    @property
    def are_named(self) -> bool:
        """Whether there are workers, a list of them, or a cluster that has some."""
        return bool(self.addresses) or self.file is not None or self.ray is not None

    @model_validator(mode="after")
    def _both_keys(self) -> Self:
        if (self.server_key is None) != (self.key is None):
            raise ValueError("expected both server_key and key of the workers, or neither, got one")
        return self
