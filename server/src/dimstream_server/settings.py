"""What the server may be told: one frozen model. `settings_file` reads it.

The table in ``docs/server.md`` says the same in prose; a test compares the two.
"""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    model_validator,
)

from dimstream_server.addresses import (
    check_http_address,
    check_worker,
    check_zmq_endpoint,
    is_public_address,
    is_public_endpoint,
)
from dimstream_server.errors import DeviceUnavailable
from dimstream_server.pipeline.device import parse_device

MIB = 1024 * 1024
MOST_BYTES = 2**40  # ZeroMQ's own limit is not far above
IN_MEMORY = "memory"
IN_PART = "in part"  # context of a file's settings, to which the command line may add


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _as_list(one: object) -> object:
    return (one,) if isinstance(one, str) else one


def _at_least_one(bundles: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
    if bundles == ():
        raise ValueError(
            "expected at least one bundle, got an empty list; leave the setting out to serve the bundle "
            "that comes with dimstream"
        )
    return bundles


def _check_device(text: str) -> str:
    try:
        parse_device(text)
    except DeviceUnavailable as error:
        raise ValueError(str(error)) from error
    return text


class ServerTable(_Table):
    """``[server]``: what is served, and on what."""

    bundles: Annotated[
        tuple[Path, ...] | None,
        AfterValidator(_at_least_one),
        Field(description="model bundles to serve: folders or zips; without it the one that ships"),
    ] = None
    bundle_folders: Annotated[
        tuple[Path, ...],
        Field(
            description="folders whose bundles may be loaded by HTTP while the server runs; none: no bundle"
        ),
    ] = ()
    device: Annotated[
        tuple[Annotated[str, AfterValidator(_check_device)], ...],
        BeforeValidator(_as_list),
        Field(
            min_length=1,
            max_length=64,
            description="`cpu`, `cuda:N`, each with its precision, or a list of them",
        ),
    ] = ("cpu",)
    threads: Annotated[
        int | None,
        Field(ge=1, le=1024, description="CPU threads of one run; without it CPU devices share the cores"),
    ] = None
    keep_warm_s: Annotated[
        float | None,
        Field(
            ge=0.01,
            le=3600,
            description="a device with streams that waited so long denoises an empty frame; none: never",
        ),
    ] = None
    ready_file: Annotated[Path | None, Field(description="JSON written once every bundle is warm")] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="least severe event that is logged")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Field(description="how an event is written, one a line")
    ] = "text"
    drain_s: Annotated[
        float, Field(gt=0, le=3600, description="longest time that a stop waits for accepted frames")
    ] = 60.0
    state: Annotated[
        Literal["memory"] | Path | None,
        Field(
            description="folder of the journal, by which streams outlive the server; `memory`: they do not"
        ),
    ] = None
    suspect_after: Annotated[
        int,
        Field(
            ge=1, le=1000, description="judged frames in a row after which a plane counts as suspect, or good"
        ),
    ] = 3
    insecure_lan: Annotated[
        bool, Field(description="bind beyond loopback without keys and tokens: anyone there may use it")
    ] = False


class ZmqTable(_Table):
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
        Field(gt=0, le=3600, description="silence, pings unanswered too, after which a peer is given up"),
    ] = 30.0
    lease_s: Annotated[
        float, Field(gt=0, le=31_536_000, description="how long a stream can be resumed whose client is gone")
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


class HttpTable(_Table):
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
        int, Field(ge=1, description="bytes of a body that come in a second, as a mean over stall_s")
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
        Path | None, Field(description="the same of tokens that allow to look, and no more; needs tokens")
    ] = None
    analysis_tokens: Annotated[
        Path | None,
        Field(
            description="the same of tokens that allow to look and to send figures of frames; needs tokens"
        ),
    ] = None
    operator_tokens: Annotated[
        Path | None,
        Field(
            description="the same of tokens that also allow to change models and thresholds; none: nobody may"
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


class LimitsTable(_Table):
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
        int, Field(ge=1, le=65536, description="streams whose clients are gone that can be resumed")
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


class RecordingTable(_Table):
    """``[recording]``: what is recorded on the server."""

    folder: Annotated[
        Path | None, Field(description="where streams are recorded; without it, none can be")
    ] = None
    format: Annotated[
        Literal["tiff", "zarr"], Field(description="OME-TIFF, or OME-Zarr (needs `dimstream-server[zarr]`)")
    ] = "tiff"
    reserve_bytes: Annotated[
        int, Field(ge=16 * MIB, description="free space that recordings leave: there they stop in order")
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


class LiveTable(_Table):
    """``[live]``: the live view."""

    memory_bytes: Annotated[
        int, Field(ge=0, le=MOST_BYTES, description="bytes of the newest frames, which can be shown again")
    ] = 256 * MIB
    max_viewers: Annotated[
        int, Field(ge=0, le=1024, description="viewers at the same time, half of them of one client; 0: none")
    ] = 32
    max_frames_per_s: Annotated[
        float, Field(gt=0, le=100, description="frames that one viewer is sent in a second")
    ] = 10.0


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


class AlertsTable(_Table):
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


def _check_workers(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(addresses)) < len(addresses):
        raise ValueError("expected each worker once, got one twice")
    return tuple(check_worker(address) for address in addresses)


class WorkersTable(_Table):
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


class Settings(_Table):
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
            refuse_open_endpoints(self)
        return self


def refuse_open_endpoints(settings: Settings) -> None:
    """Refuse endpoints without locks beyond loopback, unless `insecure_lan` asks for them.

    Raises
    ------
    ValueError
    """
    public_zmq = is_public_endpoint(settings.zmq.endpoint)
    public_http = is_public_address(settings.http.address)
    locks = [
        name
        for name, path in {
            "zmq.server_secret_key": settings.zmq.server_secret_key,
            "http.tokens": settings.http.tokens,
        }.items()
        if path is not None
    ]
    if settings.server.insecure_lan:
        _refuse_contradiction(locks, public=public_zmq or public_http)
        return
    if public_zmq and "zmq.server_secret_key" not in locks:
        raise ValueError(
            f"zmq endpoint {settings.zmq.endpoint!r} could be reached from other machines, got no keys: make "
            "some by `dimstream-server keygen FOLDER` and set zmq.server_secret_key and zmq.allowed_clients, "
            "or bind a loopback address (docs/security.md)"
        )
    if public_http and "http.tokens" not in locks:
        raise ValueError(
            f"http address {settings.http.address!r} could be reached from other machines, got no tokens: "
            "make one by `dimstream-server keygen FOLDER --token NAME` and set http.tokens, or bind a "
            "loopback address (docs/security.md)"
        )


def refuse_open_workers(addresses: tuple[str, ...], settings: Settings) -> None:
    """Refuse workers on other machines that would be sent frames unencrypted, unless `insecure_lan` is set.

    Raises
    ------
    ValueError
    """
    if settings.workers.key is not None or settings.server.insecure_lan:
        return
    for address in addresses:
        if is_public_endpoint(address):
            raise ValueError(
                f"worker {address} is on another machine, got no keys: set workers.server_key and "
                "workers.key (docs/scale.md), or insecure_lan where nobody else is on that network"
            )


def _refuse_contradiction(locks: list[str], *, public: bool) -> None:
    if locks:
        raise ValueError(
            f"insecure_lan leaves the server open to all, but got {' and '.join(locks)} that protect it; "
            "leave out one or the other"
        )
    if not public:
        raise ValueError(
            "insecure_lan opens the server to other machines, but got loopback addresses that none can "
            "reach; leave it out, or set zmq.endpoint or http.address"
        )
