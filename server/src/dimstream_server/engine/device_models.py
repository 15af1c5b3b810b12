"""The models of one device: which are ready, which are being loaded, and which model each stream uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Protocol

from dimstream_server.engine.loading import LoadedModel, Loader, ModelKey
from dimstream_server.engine.protocol import InForce
from dimstream_server.engine.stream_state import PendingUpdate, StreamState
from dimstream_server.engine.thread_commands import ChangeStream, Loaded
from dimstream_server.errors import Refused, ServerError
from dimstream_server.pipeline.thresholds import changed


class ModelCallbacks(Protocol):
    """Callbacks about models; each call comes from the device's thread."""

    def left(self, stream: str, model: str) -> None:
        """A stream no longer uses a model, or will no longer change to it."""

    def loading(self, model: str, count: int) -> None:
        """The number of a model's keys that are being loaded has changed by `count`."""


class DeviceModels:
    """Models by key, and the changes of streams that wait for them. Only the device's thread may use it.

    Parameters
    ----------
    ready : mapping
        Models at the start.
    put : callable
        Passes the loader's result to the device's thread; called from any thread.
    """

    def __init__(
        self,
        loader: Loader,
        ready: Mapping[ModelKey, LoadedModel],
        callbacks: ModelCallbacks,
        put: Callable[[Loaded], None],
    ) -> None:
        self._loader = loader
        self._callbacks = callbacks
        self._put = put
        self.by_key: dict[ModelKey, LoadedModel | Exception] = dict(ready)
        """Ready models, and the errors of models that could not be loaded."""
        self._loading: set[ModelKey] = set()

    def model_for(self, state: StreamState, seq: int) -> LoadedModel | Exception | None:
        """Return the model for frame `seq`, after the updates that are due; None if it is not ready yet."""
        while (update := state.due_update(seq)) is not None:
            if state.key(update.in_force) not in self.by_key:
                return None
            before, state.in_force = state.in_force, state.updates.popleft().in_force
            if update.names_model:
                self._callbacks.left(state.id, before.model.id)
        return self.by_key.get(state.key(state.in_force))

    def change(self, state: StreamState, command: ChangeStream) -> None:
        """Plan a change of a stream, or refuse it; it is answered when its model is ready."""
        base = state.next_in_force()
        info = base.model if command.model is None else command.model
        thresholds = base.thresholds if command.model is None else info.thresholds
        try:
            if command.thresholds is not None:
                thresholds = changed(thresholds, command.thresholds)
            in_force = InForce(command.from_seq, info, thresholds)
            update = PendingUpdate(in_force, command.future, command.model is not None)
            state.plan(update)
        except Refused as error:
            if command.model is not None:
                self._callbacks.left(state.id, info.id)
            command.future.set_exception(error)
            return
        key = state.key(in_force)
        self.want(key)
        if key in self.by_key:
            self._settle(state, update)

    def _settle(self, state: StreamState, update: PendingUpdate) -> None:
        """Answer a planned update, because its model is now ready or has failed."""
        model = self.by_key[state.key(update.in_force)]
        if isinstance(model, Exception):
            state.updates.remove(update)
            if update.names_model:
                self._callbacks.left(state.id, update.in_force.model.id)
            update.future.set_exception(model)
        else:
            update.future.set_result(update.in_force)

    def want(self, key: ModelKey) -> None:
        """Load a model, unless it is ready or being loaded."""
        if key not in self.by_key and key not in self._loading:
            self._loading.add(key)
            self._callbacks.loading(key.model, 1)
            self._loader.load_aside(key, lambda outcome: self._put(_loaded(key, outcome)))

    def came(self, key: ModelKey, model: LoadedModel | Exception) -> None:
        """Store a loaded model, or the error if it could not be loaded."""
        self._loading.discard(key)
        self._callbacks.loading(key.model, -1)
        self.by_key[key] = model

    def replace(self, model: str, ready: Mapping[ModelKey, LoadedModel]) -> None:
        """Replace all keys of a model by the loaded ones."""
        kept = {key: one for key, one in self.by_key.items() if key.model != model}
        self.by_key = {**kept, **ready}

    def give_up(self) -> None:
        """Stop waiting for models, because the thread ends."""
        for key in self._loading:
            self._callbacks.loading(key.model, -1)

    @property
    def is_loading(self) -> bool:
        """Whether a model is being loaded."""
        return bool(self._loading)

    def settle_all(self, state: StreamState) -> None:
        """Answer the updates whose models are now ready."""
        for update in list(state.updates):
            if state.key(update.in_force) in self.by_key and not update.future.done():
                self._settle(state, update)


def _loaded(key: ModelKey, outcome: Future[LoadedModel]) -> Loaded:
    error = outcome.exception()
    if error is None:
        return Loaded(key, outcome.result())
    return Loaded(key, error if isinstance(error, Exception) else ServerError(repr(error)))
