"""Reads settings from TOML and from the command line, and explains what is wrong with them."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from dimstream_client.header_checks import short
from dimstream_models.shipped import find_bundle
from dimstream_server.settings import IN_MEMORY, IN_PART, Settings

LARGEST_FILE = 2**20  # of settings, bytes
_PATHS = (
    ("server", "state"),
    ("zmq", "server_secret_key"),
    ("zmq", "allowed_clients"),
    ("http", "tokens"),
    ("http", "viewer_tokens"),
    ("http", "analysis_tokens"),
    ("http", "operator_tokens"),
    ("recording", "folder"),
    ("workers", "file"),
    ("workers", "server_key"),
    ("workers", "key"),
    ("workers", "ray_settings"),
)


class SettingsError(Exception):
    """A setting is unknown, missing or out of its bounds; the text is one line for the operator."""


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
    return _validated(tables, source, None)


def _validated(tables: Mapping[str, Any], source: str, context: str | None) -> Settings:
    try:
        return Settings.model_validate(tables, context=context)
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
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise SettingsError(f"{path} has more than {LARGEST_FILE} bytes; expected a file of settings")
        tables = tomllib.loads(content.decode())
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    except RecursionError as error:
        raise SettingsError(f"{path} is nested too deeply; expected tables of plain values") from error
    settings = _validated(tables, str(path), IN_PART)
    server = tables.setdefault("server", {})
    if settings.server.bundles is not None:
        server["bundles"] = [str(find_bundle(bundle, path.parent)) for bundle in settings.server.bundles]
    if settings.server.bundle_folders:
        server["bundle_folders"] = [str(path.parent / folder) for folder in settings.server.bundle_folders]
    if settings.server.ready_file is not None:
        server["ready_file"] = str(path.parent / settings.server.ready_file)
    for table, key in _PATHS:
        if tables.get(table, {}).get(key, IN_MEMORY) != IN_MEMORY:
            tables[table][key] = str(path.parent / tables[table][key])
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
    if "got " in text or not name:
        return f"{name}: {text}"
    return f"{name}: {text} (got {short(first['input'])})"


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
