"""Micro-Manager's frames through pymmcore-plus: multi-dimensional acquisitions, Live mode, feedback.

Needs the extra ``micromanager``. Nothing here imports pymmcore-plus: the program passes its core. See
docs/micromanager.md.
"""

from dimstream_client.micromanager.driver import MdaDriver
from dimstream_client.micromanager.event_feed import EventFeed
from dimstream_client.micromanager.live import LiveStream
from dimstream_client.micromanager.mda import MdaStream
from dimstream_client.micromanager.photon_scale import PhotonScale
from dimstream_client.micromanager.plans import StreamSettings
from dimstream_client.micromanager.replay import replay_core
from dimstream_client.micromanager.result_folder import ResultFolder
from dimstream_client.micromanager.run_report import RunReport
from dimstream_client.micromanager.sent_stream import ResultNotKept, SentFrame
from dimstream_client.micromanager.spools import resume_spools

__all__ = [
    "EventFeed",
    "LiveStream",
    "MdaDriver",
    "MdaStream",
    "PhotonScale",
    "ResultFolder",
    "ResultNotKept",
    "RunReport",
    "SentFrame",
    "StreamSettings",
    "replay_core",
    "resume_spools",
]
