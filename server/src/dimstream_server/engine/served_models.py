"""The models that an engine serves, and which of them can be replaced or withdrawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from dimstream_models.bundle import Bundle
from dimstream_server.engine.loading import bundles_by_id, model_info
from dimstream_server.engine.protocol import ModelInfo
from dimstream_server.engine.quotas import Quotas
from dimstream_server.errors import ModelInUse, UnknownModel


class ServedModels:
    """The served models by id. The engine's lock must be held for changes, but not for reading.

    Parameters
    ----------
    bundles : iterable of Bundle
        Bundles with different ids.
    quotas : Quotas
        The engine's quotas, which count the users of each model.

    Raises
    ------
    DuplicateModel
    """

    def __init__(self, bundles: Iterable[Bundle], quotas: Quotas) -> None:
        self._quotas = quotas
        self.infos: Mapping[str, ModelInfo] = MappingProxyType(
            {id: model_info(bundle) for id, bundle in bundles_by_id(bundles).items()}
        )
        """The models by id. Always replaced as a whole, because other threads read it."""

    def find(self, model: str) -> ModelInfo:
        """Return the model with this id.

        Raises
        ------
        UnknownModel
        """
        info = self.infos.get(model)
        if info is None:
            raise UnknownModel(
                f"no model {model[:100]!r} is served; expected one of {', '.join(sorted(self.infos))}"
            )
        return info

    def add(self, info: ModelInfo) -> None:
        """Serve a model, also instead of an unused one with the same id.

        Raises
        ------
        ModelInUse, Draining
        """
        self._refuse_in_use(info.id)
        self.infos = MappingProxyType({**self.infos, info.id: info})

    def remove(self, model: str) -> None:
        """Stop serving a model.

        Raises
        ------
        UnknownModel, Draining
        ModelInUse
            Also for the only served model.
        """
        self.find(model)
        self._refuse_in_use(model)
        if len(self.infos) == 1:
            raise ModelInUse(f"{model} is the only served model; load another one first")
        self.infos = MappingProxyType({id: info for id, info in self.infos.items() if id != model})

    def _refuse_in_use(self, model: str) -> None:
        self._quotas.check_serving()
        if users := self._quotas.users(model):
            raise ModelInUse(
                f"{users} streams or requests use {model}, or will; change their model, or wait for their end"
            )
        if self._quotas.loading[model]:
            raise ModelInUse(f"{model} is still being loaded for a stream that has just ended; try again")
