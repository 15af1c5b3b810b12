"""What the server may be told: one frozen model, read from TOML and from the command line.

The table in ``docs/server.md`` says the same in prose; a test compares the two.
"""

import difflib
import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

MIB = 1024 * 1024
MOST_BYTES = 2**40  # ZeroMQ's own limit is not far above


class SettingsError(Exception):
    """A setting is unknown, missing or out of its bounds; the text is one line for the operator."""


def is_loopback(host: str) -> bool:
    """Whether `host` is ``localhost`` or a loopback address literal."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[IPV6]:PORT``.

    Raises
    ------
    ValueError
        There is no port, or it is not a number from 0 to 65535.
    """
    host, colon, port = address.rpartition(":")
    bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not colon or not host or bare_ipv6 or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"expected HOST:PORT with a port from 0 to 65535, got {address!r}")
    return host.strip("[]"), int(port)


def _refuse_public(host: str, what: str) -> None:
    if not is_loopback(host):
        raise ValueError(
            f"{what} would be reachable from other machines, which this version refuses because nothing "
            "there is encrypted or authenticated yet; bind a loopback address (127.0.0.1) and tunnel to it"
        )


def _loopback_address(address: str) -> str:
    host, _ = split_address(address)
    _refuse_public(host, f"http address {address!r}")
    return address


def _loopback_endpoint(endpoint: str) -> str:
    scheme, separator, rest = endpoint.partition("://")
    if separator and scheme == "ipc" and rest:
        return endpoint
    if not separator or scheme != "tcp":
        raise ValueError(f"expected tcp://HOST:PORT or ipc://PATH, got {endpoint!r}")
    host, port = split_address(rest.replace(":*", ":0"))
    _refuse_public(host, f"zmq endpoint {endpoint!r}")
    shown = f"[{host}]" if ":" in host else host
    return f"tcp://{shown.replace('localhost', '127.0.0.1')}:{port}"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerTable(_Table):
    """``[server]``: what is served, and on what."""

    bundles: Annotated[tuple[Path, ...], Field(description="model bundles to serve: folders or zips")] = ()
    device: Annotated[str, Field(pattern=r"^(cpu|cuda:\d+)$", description="`cpu` or `cuda:N`")] = "cpu"
    ready_file: Annotated[Path | None, Field(description="JSON written once every bundle is warm")] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="least severe event that is logged")
    ] = "info"
    drain_s: Annotated[
        float, Field(gt=0, le=3600, description="longest time that a stop waits for accepted frames")
    ] = 60.0


class ZmqTable(_Table):
    """``[zmq]``: the streaming door."""

    endpoint: Annotated[
        str, AfterValidator(_loopback_endpoint), Field(description="where the ROUTER binds; port 0 picks one")
    ] = "tcp://127.0.0.1:5570"
    window: Annotated[
        int, Field(ge=1, le=1024, description="frames in flight when OPEN names no window (`lossless`)")
    ] = 8
    max_window: Annotated[int, Field(ge=1, le=1024, description="largest window that OPEN may ask for")] = 64
    lease_s: Annotated[
        float, Field(gt=0, le=86400, description="silence after which a stream's peer is looked for")
    ] = 60.0

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.window > self.max_window:
            raise ValueError(f"window {self.window} is larger than max_window {self.max_window}")
        return self


class HttpTable(_Table):
    """``[http]``: the request door."""

    address: Annotated[
        str, AfterValidator(_loopback_address), Field(description="HOST:PORT to bind; port 0 picks one")
    ] = "127.0.0.1:8570"
    max_body_bytes: Annotated[int, Field(ge=1024, description="largest request body, as it arrives")] = (
        512 * MIB
    )
    max_requests: Annotated[int, Field(ge=1, le=1024, description="requests denoised at the same time")] = 8
    window: Annotated[int, Field(ge=1, le=1024, description="frames in flight of one request")] = 4
    stall_s: Annotated[
        float, Field(gt=0, le=3600, description="time in which the next 64 KiB of a body must come")
    ] = 30.0
    keep_alive_s: Annotated[int, Field(ge=1, le=3600, description="how long an idle connection is kept")] = 75


class LimitsTable(_Table):
    """``[limits]``: what both doors refuse."""

    max_frame_bytes: Annotated[
        int, Field(ge=1024, le=MOST_BYTES, description="largest frame, in bytes of its pixels")
    ] = 128 * MIB
    max_streams: Annotated[int, Field(ge=1, le=65536, description="streams open at the same time")] = 64
    max_credit: Annotated[
        int, Field(ge=1, description="frames in flight of all streams; bounds the memory they take")
    ] = 512
    max_credit_bytes: Annotated[
        int, Field(ge=1024, description="bytes of the frames in flight of all streams, and of their maps")
    ] = 4096 * MIB
    max_plane_bytes: Annotated[
        int, Field(ge=1024, description="bytes of the last predictions that planes are compared with")
    ] = 4096 * MIB

    @model_validator(mode="after")
    def _a_frame_fits(self) -> Self:
        # a byte a pixel may become a float32, and a byte of its map
        for name, times in (("max_credit_bytes", 5), ("max_plane_bytes", 4)):
            if getattr(self, name) < times * self.max_frame_bytes:
                raise ValueError(
                    f"{name} must be at least {times} * max_frame_bytes, got {getattr(self, name)}"
                )
        return self


class Settings(_Table):
    """Everything that the server may be told."""

    server: ServerTable = ServerTable()
    zmq: ZmqTable = ZmqTable()
    http: HttpTable = HttpTable()
    limits: LimitsTable = LimitsTable()


def make_settings(tables: Mapping[str, Any], *, source: str) -> Settings:
    """Settings from plain tables.

    Parameters
    ----------
    tables
        As TOML gives them.
    source
        Named in the error, e.g. the file's path.

    Raises
    ------
    SettingsError
        A key is unknown or a value is out of its bounds.
    """
    try:
        return Settings.model_validate(tables)
    except ValidationError as error:
        raise SettingsError(f"{source}: {_explain(error)}") from error


def read_settings(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, checked, with relative paths taken from the file's folder.

    Raises
    ------
    SettingsError
        The file cannot be read, is no TOML, or holds an unknown key or a bad value.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    except RecursionError as error:
        raise SettingsError(f"{path} is nested too deeply; expected tables of plain values") from error
    settings = make_settings(tables, source=str(path))
    server = tables.setdefault("server", {})
    server["bundles"] = [str(path.parent / bundle) for bundle in settings.server.bundles]
    if settings.server.ready_file is not None:
        server["ready_file"] = str(path.parent / settings.server.ready_file)
    return tables


def load_settings(path: Path | None, overrides: Mapping[tuple[str, str], Any]) -> Settings:
    """Settings from a TOML file (if any) with single values put over it.

    Parameters
    ----------
    path
        The TOML file, or None for the defaults.
    overrides
        ``(table, key)`` to value, as the command line gave them.

    Raises
    ------
    SettingsError
        As `read_settings`, or an override is out of its bounds.
    """
    tables: dict[str, Any] = {} if path is None else read_settings(path)
    for (table, key), value in overrides.items():
        tables.setdefault(table, {})[key] = value
    return make_settings(tables, source="settings" if path is None else str(path))


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    loc = tuple(str(part) for part in first["loc"])
    name = ".".join(loc)
    if first["type"] == "extra_forbidden":
        return f"unknown key {name!r}; {_nearest(loc)}"
    text = str(first["msg"]).removeprefix("Value error, ")
    return f"{name}: {text}" if "got " in text or not name else f"{name}: {text} (got {first['input']!r})"


def _nearest(loc: tuple[str, ...]) -> str:
    table = Settings.model_fields[loc[0]].annotation if len(loc) > 1 else Settings
    assert table is not None
    assert not get_args(table)  # every table is a plain model
    known = list(table.model_fields)
    close = difflib.get_close_matches(loc[-1], known, n=1)
    if close:
        return f"did you mean {'.'.join((*loc[:-1], close[0]))!r}?"
    elsewhere = [f"{table}.{loc[-1]}" for table, keys in _keys().items() if loc[-1] in keys]
    return f"did you mean {elsewhere[0]!r}?" if elsewhere else f"known here: {', '.join(known)}"


def _keys() -> dict[str, list[str]]:
    return {
        name: list(field.annotation.model_fields)
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
