"""Identity of a server: its version, and the device and precision of its engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Self

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dimstream_server.engine.protocol import Engine


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Identity of a server.

    Parameters
    ----------
    version : str
        Version of dimstream-server.
    device, precision, runtime : str
        `dimstream_server.engine.protocol.EngineDevice`.
    """

    version: str
    device: str
    precision: str
    runtime: str

    @classmethod
    def of(cls, engine: Engine) -> Self:
        """Return the identity of the server with this engine."""
        device = engine.device()
        return cls(version("dimstream-server"), device.name, device.precision, device.runtime)


class InfoMetrics(Collector):
    """`dimstream_server_info`, and `dimstream_model_info` for each served model."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._labels = asdict(ServerInfo.of(engine))

    def collect(self) -> Iterator[Metric]:
        """All series; their values are 1."""
        server = GaugeMetricFamily(
            "dimstream_server_info", "Version and device of this server.", labels=list(self._labels)
        )
        server.add_metric(list(self._labels.values()), 1)
        models = GaugeMetricFamily("dimstream_model_info", "Served models.", labels=["model", "sha256"])
        for model in self._engine.models().values():
            models.add_metric([model.id, model.sha256], 1)
        yield from (server, models)
