"""The settings of the server: a model for each table of the settings file, and one of all.

`dimstream_server.settings_file` reads them. The table in ``docs/server.md`` says the same in prose; a test
compares the two.
"""

from dimstream_server.settings.alerts import AlertsTable
from dimstream_server.settings.live import LiveTable
from dimstream_server.settings.open_endpoints import refuse_open_workers
from dimstream_server.settings.recording import RecordingTable
from dimstream_server.settings.server import IN_MEMORY
from dimstream_server.settings.settings import IN_PART, Settings

__all__ = [
    "IN_MEMORY",
    "IN_PART",
    "AlertsTable",
    "LiveTable",
    "RecordingTable",
    "Settings",
    "refuse_open_workers",
]
