"""``[alerts]``: which alerts people are sent, and how."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from dimstream_server.settings.table import Table


def _check_webhook(url: SecretStr | None) -> SecretStr | None:
    """Take a URL that can be posted to; what is wrong is said without it, for it is a secret."""
    if url is None:
        return None
    try:
        parts = urlsplit(url.get_secret_value())
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fit = False
    if not is_fit or any(ord(letter) <= ord(" ") for letter in url.get_secret_value()):
        raise ValueError(
            "expected an address that begins with https:// or http:// and names a host, got another text"
        )
    return url


class AlertsTable(Table):
    """``[alerts]``: which alerts people are sent, and how."""

    frames_stop: Annotated[bool, Field(description="alert when frames of an open stream stop")] = True
    silent_s: Annotated[
        float, Field(gt=0, le=86_400, description="shortest time without an answered frame")
    ] = 60.0
    silent_intervals: Annotated[
        float, Field(ge=1, le=10_000, description="the same, in intervals between its last frames")
    ] = 5.0
    frames_dropped: Annotated[bool, Field(description="alert when frames are skipped or fail")] = True
    dropped_frames: Annotated[
        int, Field(ge=1, description="this many, with less than `settle_s` between them")
    ] = 1
    settle_s: Annotated[
        float, Field(gt=0, le=86_400, description="time without a further one after which the alert is over")
    ] = 60.0
    recording_stops: Annotated[bool, Field(description="alert when a recording stops before its stream")] = (
        True
    )
    disk_fills: Annotated[
        bool, Field(description="alert when recordings have less than `recording.warn_bytes` left")
    ] = True
    suspect: Annotated[bool, Field(description="alert when a stream stays suspect")] = True
    suspect_frames: Annotated[
        int,
        Field(ge=1, le=100_000, description="judged frames of a plane in a row, on more than half of all"),
    ] = 10
    forecast: Annotated[
        bool, Field(description="alert when little time is left until a plane is suspect")
    ] = False
    forecast_minutes: Annotated[
        float, Field(gt=0, le=100_000, description="this many minutes or less, by the forecast")
    ] = 10.0
    not_ready: Annotated[bool, Field(description="alert when a check of /readyz is not well")] = True
    repeat_s: Annotated[
        float,
        Field(ge=0, le=604_800, description="shortest time after which the same alert is sent again"),
    ] = 600.0
    max_per_hour: Annotated[
        int, Field(ge=1, le=10_000, description="most notices in an hour; further alerts wait")
    ] = 60
    webhook_url: Annotated[
        SecretStr | None,
        AfterValidator(_check_webhook),
        Field(description="where notices are posted as JSON; a secret"),
    ] = None
    webhook_format: Annotated[
        Literal["dimstream", "slack", "teams"], Field(description="what the JSON looks like")
    ] = "dimstream"
    webhook_timeout_s: Annotated[
        float, Field(gt=0, le=300, description="longest time of one attempt to post")
    ] = 10.0
    webhook_attempts: Annotated[int, Field(ge=1, le=20, description="attempts to post one notice")] = 5
