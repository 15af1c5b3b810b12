"""All settings of the server: one frozen model."""

from typing import Self

from pydantic import ValidationInfo, model_validator

from dimstream_server.settings.alerts import AlertsTable
from dimstream_server.settings.http import HttpTable
from dimstream_server.settings.limits import LimitsTable
from dimstream_server.settings.live import LiveTable
from dimstream_server.settings.open_endpoints import refuse_open_endpoints
from dimstream_server.settings.recording import RecordingTable
from dimstream_server.settings.server import ServerTable
from dimstream_server.settings.table import Table
from dimstream_server.settings.workers import WorkersTable
from dimstream_server.settings.zmq import ZmqTable

IN_PART = "in part"  # context of a file's settings, to which the command line may add


class Settings(Table):
    """Everything that the server may be told."""

    server: ServerTable = ServerTable()
    zmq: ZmqTable = ZmqTable()
    http: HttpTable = HttpTable()
    limits: LimitsTable = LimitsTable()
    recording: RecordingTable = RecordingTable()
    live: LiveTable = LiveTable()
    alerts: AlertsTable = AlertsTable()
    workers: WorkersTable = WorkersTable()

    @model_validator(mode="after")
    def _endpoints_are_locked(self, info: ValidationInfo) -> Self:
        """What other machines can reach has a lock, unless it was said that it shall have none."""
        if info.context != IN_PART:
            refuse_open_endpoints(self.server, self.zmq, self.http)
        return self
