"""Loading and unloading of models while streams run; no stream loses a model that it needs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np

from dimstream_models.bundle import Bundle, BundleError, read_bundle
from dimstream_server.engine.protocol import Engine, ModelInfo
from dimstream_server.errors import BundleRefused, ModelInUse, ServerBusy, StartError, TooManyModels
from dimstream_server.settings import Settings
from dimstream_server.streams.bundle_folders import find_bundle
from dimstream_server.streams.journal_thread import JournalThread

_SHOWN = 5
_log = logging.getLogger(__name__)


class ModelLoading:
    """Loads and unloads models, one at a time. Only the event loop may use it.

    A model is needed by open streams that use it, or will. It is also needed by streams that can be resumed
    only with it: their client is away, or has not acknowledged the frames before a change of model.

    Parameters
    ----------
    is_open : callable
        Whether the client of a stream is connected.
    refuse_when_draining : callable
        Raises Draining if nothing more is accepted.
    """

    def __init__(
        self,
        engine: Engine,
        journal: JournalThread,
        settings: Settings,
        *,
        is_open: Callable[[str], bool],
        refuse_when_draining: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._is_open = is_open
        self._refuse_when_draining = refuse_when_draining
        self._journal = journal
        self._folders = settings.server.bundle_folders
        self._most = settings.limits.max_models
        self._is_loading = False
        served = list(engine.models())
        self._first = served[0] if len(served) == 1 else None

    def default(self) -> str | None:
        """Id of the model for requests without one: the only model, or the only one at the start."""
        served = self.served()
        if len(served) == 1:
            return next(iter(served))
        return self._first if self._first in served else None

    def served(self) -> Mapping[str, ModelInfo]:
        """The served models, by id."""
        return self._engine.models()

    async def load(self, name: str, *, by: str) -> tuple[ModelInfo, bool]:
        """Load a bundle from one of `server.bundle_folders`; return its model, and whether it is new.

        Parameters
        ----------
        by : str
            Who requests it, for the log.

        Raises
        ------
        ServerError
        """
        return await self.load_from(await asyncio.to_thread(find_bundle, self._folders, name), by=by)

    async def load_from(self, path: Path, *, by: str) -> tuple[ModelInfo, bool]:
        """Serve the bundle at `path`, which replaces another one with the same id; otherwise as `load`.

        Raises
        ------
        BundleRefused
            When it cannot be read, or does not reproduce its test tensor.
        ModelInUse
            When a stream needs the served model with the same id.
        TooManyModels, ServerBusy, Draining
        """
        self._refuse_when_draining()
        if self._is_loading:
            raise ServerBusy("another bundle is being loaded; try again later")
        self._is_loading = True
        try:
            bundle = await asyncio.to_thread(_read, path)
            served = self._engine.models().get(bundle.id)
            if served is not None and is_same(served.bundle, bundle):
                return served, False
            await self._refuse(bundle.id)
            model = await self._prepare_and_serve(bundle)
        finally:
            self._is_loading = False
        _log.info(
            "a model is served from now on event=model_loaded model=%s sha256=%s path=%s by=%r",
            *(model.id, model.sha256, path, by),
        )
        return model, True

    async def unload(self, model_id: str, *, even_if_away: bool, by: str) -> None:
        """Stop serving a model.

        Parameters
        ----------
        even_if_away : bool
            Also if streams need it whose clients are away. They can be resumed when it is loaded again.

        Raises
        ------
        UnknownModel, ModelInUse, Draining
        """
        self._refuse_when_draining()
        await self._refuse_needed(model_id, even_if_away=even_if_away)
        self._engine.withdraw(model_id)
        _log.info("a model is no longer served event=model_unloaded model=%s by=%r", model_id, by)

    async def _prepare_and_serve(self, bundle: Bundle) -> ModelInfo:
        try:
            prepared = await asyncio.wrap_future(self._engine.prepare(bundle))
        except (BundleError, StartError) as error:
            raise BundleRefused(f"bundle {bundle.source.name}: {error}") from error
        await self._refuse(bundle.id)  # a stream may have been opened meanwhile
        return self._engine.serve(prepared)

    async def _refuse(self, model_id: str) -> None:
        """Refuse to serve another model with this id, or more models than allowed."""
        models = self._engine.models()
        if model_id in models:
            await self._refuse_needed(model_id)
        elif len(models) >= self._most:
            raise TooManyModels(
                f"{len(models)} models are served, which is the limit (limits.max_models); unload one first"
            )

    async def _refuse_needed(self, model_id: str, *, even_if_away: bool = False) -> None:
        """Refuse to remove a model that streams need. For streams that are opened meanwhile, the engine
        refuses."""
        needs = await self._journal.ask(lambda journal: journal.needs())
        streams = [one for one in needs.get(model_id, []) if not even_if_away or self._is_open(one)]
        if streams:
            shown = ", ".join(streams[:_SHOWN]) + (", …" if len(streams) > _SHOWN else "")
            raise ModelInUse(
                f"{len(streams)} streams need {model_id}, because they run, or can be resumed only with it: "
                f"{shown}; change their model, or wait until they have ended"
            )


def is_same(one: Bundle, other: Bundle) -> bool:
    """Whether two bundles are equal except for their path."""
    names = [field.name for field in fields(Bundle) if field.name != "source"]
    return all(_equal(getattr(one, name), getattr(other, name)) for name in names)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return bool(one == other)


def _read(path: Path) -> Bundle:
    try:
        return read_bundle(path)
    except BundleError as error:
        raise BundleRefused(f"bundle {path.name}: {error}") from error
