"""SIGHUP: the lists of bundles and of workers are read again, and both come and go by it. No stream stops.

Keys and tokens need no signal, as they are looked at every second. All other settings want a restart, which
streams outlive; which of them have changed is logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dimstream_client.errors import KeyFileError
from dimstream_models.shipped import find_bundle, shipped_bundle
from dimstream_server.errors import ServerError
from dimstream_server.settings import Settings
from dimstream_server.settings_file import SettingsError
from dimstream_server.streams import StreamService

_BY: Final = "SIGHUP"
_READ_AGAIN: Final = ("server.bundles", "workers.addresses", "workers.file", "workers.ray_workers")
_log = logging.getLogger(__name__)


class Reloading:
    """Follows the settings file while the server runs.

    Parameters
    ----------
    settings : Settings
        With which it was started.
    read : callable
        Reads them again.

    Attributes
    ----------
    also : callable or None
        Called with what was read, and may raise SettingsError.
    """

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self.also: Callable[[Settings], None] | None = None
        self._started_with = settings
        self._read = read
        self._asked = asyncio.Event()
        self._models: dict[Path, str] = {}  # by the bundles that settings have named

    def ask(self) -> None:
        """Read the settings again as soon as possible."""
        self._asked.set()

    async def follow(self, service: StreamService) -> None:
        """Do what is asked for, for ever."""
        named = bundles_of(self._started_with)
        served = service.models.served().values()
        self._models = {model.bundle.source: model.id for model in served if model.bundle.source in named}
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                settings = await asyncio.to_thread(self._read)
                if self.also is not None:
                    await asyncio.to_thread(self.also, settings)
            except (SettingsError, KeyFileError) as error:
                _log.error("nothing has changed event=reload_failed path=None reason=%r", str(error))
                continue
            await self._reload(service, settings)

    async def _reload(self, service: StreamService, settings: Settings) -> None:
        others = changed_keys(self._started_with, settings)
        if others:
            _log.warning("these settings need a restart event=restart_needed keys=%s", others)
        named = bundles_of(settings)
        for path in named:
            try:
                model, _ = await service.models.load_from(path, by=_BY)
                self._models[path] = model.id
            except ServerError as error:
                _log.error("a bundle is not served event=reload_failed path=%s reason=%r", path, str(error))
        kept = {model for path, model in self._models.items() if path in named}
        for path, model_id in list(self._models.items()):
            if path not in named:
                await self._drop(service, path, model_id, is_named=model_id in kept)
        _log.info("settings were read again event=reloaded models=%s", sorted(service.models.served()))

    async def _drop(self, service: StreamService, path: Path, model_id: str, *, is_named: bool) -> None:
        """Unload what the settings name no more, unless another bundle that they name has its id."""
        if not is_named and model_id in service.models.served():
            try:
                await service.models.unload(model_id, even_if_away=False, by=_BY)
            except ServerError as error:
                _log.warning("a model stays event=model_kept model=%s reason=%r", model_id, str(error))
                return  # the next SIGHUP tries again
        del self._models[path]


def bundles_of(settings: Settings) -> tuple[Path, ...]:
    """The bundles that are served by these settings: the one that ships where they name none."""
    return tuple(find_bundle(path) for path in settings.server.bundles or (shipped_bundle(),))


def changed_keys(before: Settings, after: Settings) -> list[str]:
    """Names of the settings that differ, but for those that are read again."""
    old, new = before.model_dump(), after.model_dump()
    pairs = [(table, key) for table in old for key in old[table]]
    changed = [f"{table}.{key}" for table, key in pairs if old[table][key] != new[table][key]]
    return [key for key in changed if key not in _READ_AGAIN]
