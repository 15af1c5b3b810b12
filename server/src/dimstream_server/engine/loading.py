"""Loads bundles for serving: checked, fused and warmed up, in a thread other than the device's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from dimstream_models.arithmetic import Array
from dimstream_models.bundle import Bundle, apply_steps, check_error_bar, check_test_tensor
from dimstream_server.engine.protocol import InDtype, ModelInfo, OutDtype, PreparedModel
from dimstream_server.errors import Draining, DuplicateModel, UnsupportedNetwork
from dimstream_server.pipeline.comparison import Aligner, SplitCheck
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.fused_model import FusedModel
from dimstream_server.pipeline.network_memory import bytes_per_pixel
from dimstream_server.pipeline.runner import open_network
from dimstream_server.pipeline.runtime import first_line
from dimstream_server.pipeline.thresholds import thresholds_of

_log = logging.getLogger(__name__)
ROUNDING_MAX: Final = 0.05
"""Largest difference of a lower precision from the test output, as a share of the largest prediction."""


class ModelKey(NamedTuple):
    """Key of a loaded model, with or without the split-photon check and error bars."""

    model: str
    in_dtype: InDtype
    out_dtype: OutDtype
    split_check: bool = False
    sd: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """Everything that processes the frames of a stream. Only one thread at a time may use it."""

    fused: FusedModel
    aligner: Aligner
    split_check: SplitCheck | None


class Loader:
    """Makes fused models in a separate thread, one after another, while frames are denoised.

    Parameters
    ----------
    bundles : iterable of Bundle
        All bundles that may be served.
    threads : int or None
        CPU threads of one run; None: one per core.
    """

    def __init__(self, bundles: Iterable[Bundle], device: Device, *, threads: int | None) -> None:
        self._bundles = bundles_by_id(bundles)
        self._device = device
        self._threads = threads
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dimstream-loader")

    @property
    def device(self) -> Device:
        """The device for which the models are loaded."""
        return self._device

    def load(self, key: ModelKey) -> LoadedModel:
        """Load and warm up a model in the caller's thread.

        Raises
        ------
        DeviceUnavailable, UnsupportedNetwork
        """
        return self._load(self._bundles[key.model], key)

    def _load(self, bundle: Bundle, key: ModelKey) -> LoadedModel:
        device, threads = self._device, self._threads
        fused = FusedModel(
            bundle,
            device=device,
            in_dtype=key.in_dtype,
            out_dtype=key.out_dtype,
            threads=threads,
            with_sd=key.sd,
        )
        split_check = (
            SplitCheck(bundle, device, in_dtype=key.in_dtype, threads=threads) if key.split_check else None
        )
        return LoadedModel(fused, Aligner(bundle, device, threads=threads), split_check)

    def load_aside(self, key: ModelKey, then: Callable[[Future[LoadedModel]], None]) -> None:
        """Load in the loader's thread, and call `then` with the result there."""
        self._thread.submit(self.load, key).add_done_callback(then)

    def prepare_aside(
        self, bundle: Bundle, pairs: Iterable[tuple[InDtype, OutDtype]]
    ) -> Future[dict[ModelKey, LoadedModel]]:
        """Check that another bundle reproduces its test output, and load it, in the loader's thread.

        The future raises the errors of `check_networks` and `load`.
        """
        keys = [ModelKey(bundle.id, *pair) for pair in pairs]

        def prepare() -> dict[ModelKey, LoadedModel]:
            check_networks(bundle, self._device)
            return {key: self._load(bundle, key) for key in keys}

        return self._thread.submit(prepare)

    def put(self, bundle: Bundle) -> None:
        """Load models of this bundle from now on; it replaces another bundle with the same id."""
        self._bundles[bundle.id] = bundle

    def drop(self, model: str) -> None:
        """Do not load this model any more."""
        del self._bundles[model]

    def stop(self) -> None:
        """End the loader's thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def prepared_on_all(
    bundle: Bundle, parts: Mapping[str, Future[dict[ModelKey, LoadedModel]]]
) -> Future[PreparedModel]:
    """Return a future of a bundle that is loaded on every device, except devices that are lost meanwhile.

    The future raises the error of any part, and Draining when all were cancelled.
    """
    prepared: Future[PreparedModel] = Future()
    prepared.set_running_or_notify_cancel()

    def look(_: Future[dict[ModelKey, LoadedModel]]) -> None:
        if prepared.done() or not all(part.done() for part in parts.values()):
            return
        whole = {name: part for name, part in parts.items() if not part.cancelled()}
        error = next((part.exception() for part in whole.values() if part.exception() is not None), None)
        if not whole:
            prepared.set_exception(Draining("the server is stopping and loads nothing more"))
        elif error is not None:
            prepared.set_exception(error)
        else:
            ready = {name: part.result() for name, part in whole.items()}
            prepared.set_result(PreparedModel(model_info(bundle), ready))

    for part in parts.values():
        part.add_done_callback(look)
    return prepared


def model_info(bundle: Bundle) -> ModelInfo:
    """Return the description of a bundle for the endpoints."""
    memory = bytes_per_pixel(bundle)
    if memory is None:
        _log.warning(
            "the memory that a network needs is unknown, so frames that are too large are not refused "
            "event=memory_unknown model=%s",
            bundle.id,
        )
    return ModelInfo(
        id=bundle.id,
        name=bundle.name,
        sha256=bundle.sha256,
        gain=bundle.gain,
        offset=bundle.offset,
        thresholds=thresholds_of(bundle),
        description=bundle.description,
        bundle=bundle,
        bytes_per_pixel=memory,
    )


def check_networks(bundle: Bundle, device: Device) -> None:
    """Check that a bundle's networks reproduce their test outputs on a device.

    They must reproduce them in float32, and approximately in the device's precision.

    Raises
    ------
    DeviceUnavailable, UnsupportedNetwork, TestTensorMismatch
    """
    network = bare_network(bundle.id, bundle.onnx, replace(device, precision="float32"))
    check_test_tensor(bundle, network)
    given = apply_steps(bundle.preprocessing, bundle.test_input)
    prediction = network(given)
    if device.precision != "float32":
        _check_rounded(bundle, device, bare_network(bundle.id, bundle.onnx, device)(given), prediction)
    if bundle.error_bar is not None:
        beside = bare_network(bundle.id, bundle.error_bar.onnx, device.bracket)
        check_error_bar(bundle, beside, prediction)


def _check_rounded(bundle: Bundle, device: Device, rounded: Array, exact: Array) -> None:
    largest = float(np.abs(exact).max())
    off = float(np.abs(rounded - exact).max())
    if not off <= ROUNDING_MAX * largest:  # NaN, too
        raise UnsupportedNetwork(
            f"{bundle.id}: in {device.precision} it differs from its test output by {off:.3g}, expected at "
            f"most {ROUNDING_MAX:.0%} of the largest prediction, {largest:.3g}; serve it in float32"
        )


def bare_network(name: str, content: bytes, device: Device) -> Callable[..., Array]:
    """Return a bundle's bare network: from its inputs to its output, such as (1, 1, H, W) float32, in its own
    unit.

    Parameters
    ----------
    name : str
        Name of the bundle, for messages.
    """
    network = open_network(content, device, name=name)

    def run(*values: Array) -> Array:
        try:
            return network(*values)
        except Exception as error:  # the runtimes' error classes have no common base except Exception
            raise UnsupportedNetwork(
                f"{name}: the network fails on its test input: {first_line(error)}; export it again"
            ) from error

    return run


def bundles_by_id(bundles: Iterable[Bundle]) -> dict[str, Bundle]:
    """Return the bundles by their ids.

    Raises
    ------
    DuplicateModel
    """
    found: dict[str, Bundle] = {}
    for bundle in bundles:
        if bundle.id in found:
            raise DuplicateModel(
                f"{found[bundle.id].source} and {bundle.source} both have a model {bundle.id!r}; serve only "
                "one"
            )
        found[bundle.id] = bundle
    return found
