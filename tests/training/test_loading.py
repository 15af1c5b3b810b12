"""A bundle's ONNX weights in torch: aliases and shared tensors included, or refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from shipped import BUNDLE

from dimstream_models.bundle import Bundle, read_bundle
from dimstream_models.training.errors import CannotLoad, CheckpointMismatch
from dimstream_models.training.export.onnx_export import Denoiser, export_onnx
from dimstream_models.training.fitting.trainer import fit, read_record
from dimstream_models.training.loading import load_bundle, load_weights
from dimstream_models.training.network import UNetRCAN, build_network
from dimstream_models.training.normalisation import FixedScale
from dimstream_models.training.settings import NetworkSettings, NormalisationSettings, Recipe

SMALL = {"filters": (2, 3), "filters_cab": 2, "num_rg": 1, "num_cab": 1, "kernel": 3}


def small(seed: int, **changes: Any) -> UNetRCAN:
    """A network with random weights, biases too."""
    torch.manual_seed(seed)
    network = UNetRCAN(**{**SMALL, **changes})
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0, 0.3)
    return network.eval()


def onnx_output(content: bytes, counts: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: counts})[0])


def difference(network: UNetRCAN, content: bytes, divisor: float = 4.0) -> float:
    """Largest difference between torch and ONNX on counts that loading does not try, of the largest value."""
    counts = np.random.default_rng(99).poisson(0.7, (2, 1, 48, 80)).astype(np.float32)
    expected = onnx_output(content, counts)
    with torch.no_grad():
        _, fine = network.eval()(torch.from_numpy(counts / divisor))
    return float(np.abs(fine.numpy() - expected).max() / np.abs(expected).max())


def test_the_shipped_bundles_weights_compute_the_same_in_torch() -> None:
    bundle = read_bundle(BUNDLE)
    network = build_network(NetworkSettings())
    torch.manual_seed(1)
    torch.nn.init.normal_(network.unet.last.shortcut.bias)
    assert load_bundle(network, bundle, NormalisationSettings()) < 1e-5
    assert difference(network, bundle.onnx) < 1e-5
    # the file has no tensor of this name: it is another layer's, under an alias
    names = {each.name for each in onnx.load_model_from_string(bundle.onnx).graph.initializer}
    assert "network.unet.last.shortcut.bias" not in names
    assert torch.equal(network.unet.last.shortcut.bias, network.unet.last.conv2.bias)


def _renamed(model: Any) -> None:
    new = {each.name: f"w{index}" for index, each in enumerate(model.graph.initializer)}
    for each in model.graph.initializer:
        each.name = new[each.name]
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]


def _as_constant_nodes(model: Any) -> None:
    for each in list(model.graph.initializer)[::2]:
        model.graph.node.insert(0, helper.make_node("Constant", [], [each.name], value=each))
        model.graph.initializer.remove(each)


def _chained_aliases(model: Any) -> None:
    graph = model.graph
    for index, each in enumerate(list(graph.initializer)[::3]):
        names = [f"a{index}", f"b{index}"]
        for node in graph.node:
            node.input[:] = [names[1] if name == each.name else name for name in node.input]
        graph.node.insert(0, helper.make_node("Identity", [each.name], [names[0]]))
        graph.node.insert(1, helper.make_node("Identity", [names[0]], [names[1]]))


@pytest.mark.parametrize("change", [_renamed, _as_constant_nodes, _chained_aliases])
def test_names_aliases_and_constants_do_not_matter(change: Any) -> None:
    model = onnx.load_model_from_string(export_onnx(Denoiser(small(1), FixedScale(4.0))))
    change(model)
    onnx.checker.check_model(model, full_check=True)
    network = small(2)
    load_weights(network, model.SerializeToString())
    assert difference(network, model.SerializeToString()) < 1e-5


def test_tensors_that_layers_share_reach_each_of_them() -> None:
    original = small(3)
    cabs = original.rcan.groups[0].cabs[0]
    with torch.no_grad():  # equal tensors: the exporter stores them once
        cabs.conv2.weight.copy_(cabs.conv1.weight)
        cabs.conv2.bias.copy_(cabs.conv1.bias)
        original.unet.last.shortcut.bias.copy_(original.unet.last.conv2.bias)
    content = export_onnx(Denoiser(original, FixedScale(4.0)))
    stored = len(onnx.load_model_from_string(content).graph.initializer)
    assert stored < len(list(original.parameters()))
    network = small(4)
    load_weights(network, content)
    assert difference(network, content) < 1e-5


@pytest.mark.parametrize("changes", [{"num_cab": 2}, {"filters": (2, 4)}, {"kernel": 5}, {"filters_cab": 1}])
def test_another_network_is_refused_and_keeps_its_weights(changes: dict[str, Any]) -> None:
    network, bundle = small(5, **changes), _bundle_of(small(6))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CannotLoad, match="network settings"):
        load_bundle(network, bundle, NormalisationSettings())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "normalisation"),
    [({"activation": "tanh"}, {}), ({}, {"value": 3.0}), ({}, {"kind": "maximum", "value": None})],
)
def test_equal_shapes_that_compute_something_else_are_refused(
    changes: dict[str, Any], normalisation: dict[str, Any]
) -> None:
    network = small(7, **changes)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CannotLoad, match="computes something else"):
        load_bundle(network, _bundle_of(small(8)), NormalisationSettings(**normalisation))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.slow
def test_a_fit_starts_from_a_bundle_and_records_it(tiny_recipe: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(9)
    start = build_network(tiny_recipe.network)
    bundle = _bundle_of(start)
    recipe = tiny_recipe.model_copy(update={"fine_tuning": None})
    fit(recipe, tmp_path / "run", stop_after=1, start=bundle)
    after = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["network"]
    moved = max(float((after[name] - value).abs().max()) for name, value in start.state_dict().items())
    assert 0 < moved < 1e-3  # one step of the warm-up away
    assert read_record(tmp_path / "run").start == {bundle.id: bundle.sha256}
    fit(recipe, tmp_path / "run", stop_after=2)  # goes on without being told again
    other = replace(bundle, sha256="0" * 64)
    with pytest.raises(CheckpointMismatch, match="expected the initial bundle"):
        fit(recipe, tmp_path / "run", start=other)


def test_a_bundle_that_does_not_fit_leaves_no_run(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(CannotLoad):
        fit(tiny_recipe, tmp_path / "run", start=read_bundle(BUNDLE))
    assert not (tmp_path / "run").exists()


def _bundle_of(network: UNetRCAN) -> Bundle:
    """The shipped bundle with another network in it; loading reads nothing else."""
    content = export_onnx(Denoiser(network, FixedScale(4.0)))
    return replace(read_bundle(BUNDLE), onnx=content)
