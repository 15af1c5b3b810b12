"""Files that are no weights of the published code, and configurations that are not theirs."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from training.keras_import.keras_files import Published, write_keras2, write_keras3

from dimstream_models.training.errors import InvalidKerasFile
from dimstream_models.training.keras_import import KerasConfig, read_keras_config, read_keras_weights

pytestmark = pytest.mark.slow

NETWORK = Published((2, 3), 1, 2, 2)
CONFIG = KerasConfig.model_validate(NETWORK.config)
FIRST = "u_net/u_net_rcan/u_net/cnn_block/conv2d"  # path of the first layer in a Keras 2 file

Damage = Callable[[h5py.File], None]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    write_keras2(tmp_path / "w.h5", NETWORK, NETWORK.draw())
    return tmp_path / "w.h5"


def replaced(values: object) -> Damage:
    """Put another array in the place of the first kernel."""

    def damage(file: h5py.File) -> None:
        del file[f"{FIRST}/kernel:0"]
        file[f"{FIRST}/kernel:0"] = values

    return damage


def with_link(link: object) -> Damage:
    def damage(file: h5py.File) -> None:
        del file[f"{FIRST}/kernel:0"]
        file[f"{FIRST}/kernel:0"] = link

    return damage


def declared(shape: tuple[int, ...], **options: object) -> Damage:
    """Put an array without values in the place of the first kernel."""

    def damage(file: h5py.File) -> None:
        del file[f"{FIRST}/kernel:0"]
        file.create_dataset(f"{FIRST}/kernel:0", shape, "f4", **options)

    return damage


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 3, 1, 2), "f4")
    layout[...] = h5py.VirtualSource("other.h5", "kernel", (3, 3, 1, 2))
    del file[f"{FIRST}/kernel:0"]
    file.create_virtual_dataset(f"{FIRST}/kernel:0", layout)


def not_finite(value: float) -> Damage:
    def damage(file: h5py.File) -> None:
        file[f"{FIRST}/kernel:0"][1, 1, 0, 1] = value

    return damage


def without(path: str, attribute: str) -> Damage:
    def damage(file: h5py.File) -> None:
        del file[path].attrs[attribute]

    return damage


def attribute(value: object) -> Damage:
    def damage(file: h5py.File) -> None:
        file["u_net"].attrs["weight_names"] = value

    return damage


def group_for_array(file: h5py.File) -> None:
    del file[f"{FIRST}/kernel:0"]
    file.create_group(f"{FIRST}/kernel:0")


def emptied(file: h5py.File) -> None:
    for name in file:
        del file[name]
    for name in list(file.attrs):
        del file.attrs[name]


def optimiser_only(file: h5py.File) -> None:
    emptied(file)
    file["optimizer_weights/adam/m:0"] = np.zeros(3)


def other_model(file: h5py.File) -> None:
    emptied(file)
    file.attrs["layer_names"] = [b"dense"]
    file.create_group("dense").attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
    file["dense/dense/kernel:0"], file["dense/dense/bias:0"] = np.ones((4, 2)), np.ones(2)


def half(name: str) -> Damage:
    def damage(file: h5py.File) -> None:
        file.attrs["layer_names"] = [name.encode()]

    return damage


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a kernel of another shape": (replaced(np.ones((3, 3, 1, 4), "f4")), r"expected \(3, 3, 1, 2\), got"),
    "a kernel that is not square": (replaced(np.ones((3, 5, 1, 2), "f4")), r"expected \(3, 3, 1, 2\), got"),
    "a kernel of whole numbers": (replaced(np.ones((3, 3, 1, 2), "i4")), "floating-point"),
    "a kernel of text": (replaced(np.full((3, 3, 1, 2), b"x")), "floating-point"),
    "a single number": (replaced(np.float32(1)), r"expected \(3, 3, 1, 2\), got \(\)"),
    "no number": (replaced(h5py.Empty("f4")), "expected an array"),
    "not a number": (not_finite(np.nan), "not finite"),
    "infinity": (not_finite(np.inf), "not finite"),
    "more than single precision holds": (replaced(np.full((3, 3, 1, 2), 1e300)), "not finite"),
    "values never written": (declared((3, 3, 1, 2)), "none were written"),
    "a giant": (declared((2**20, 2**20, 1, 2), chunks=(1024, 1024, 1, 2)), "at most"),
    "a giant that fits no integer": (declared((2**31, 2**31, 2**31), chunks=(9, 9, 9)), "at most"),
    "values in another file": (
        declared((3, 3, 1, 2), external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]),
        "reference to another",
    ),
    "values in another HDF5 file": (virtual, "reference to another"),
    "a link to another file": (with_link(h5py.ExternalLink("other.h5", "/kernel")), "is a link"),
    "a link to another place": (with_link(h5py.SoftLink("/rcan")), "is a link"),
    "a group for an array": (group_for_array, "expected an array"),
    "no list of layers": (without("/", "layer_names"), "layer_names"),
    "no list of weights": (without("rcan", "weight_names"), "expected the attribute weight_names"),
    "a list of numbers": (attribute(np.arange(3)), "cannot be read"),
    "a list of names that are not there": (attribute([b"a/kernel:0"]), "cannot be read"),
    "no text": (attribute([b"\xff\xfe"]), "cannot be read"),
    "nothing": (emptied, "got nothing"),
    "the optimiser's state": (optimiser_only, "only the optimiser's state"),
    "another model": (other_model, r"dense/kernel:0.*expected \(3, 3, 1, 2\), got \(4, 2\)"),
    "the U-Net alone": (half("u_net"), r"expected 100 arrays, got 58"),
    "the RCAN alone": (half("rcan"), r"expected \(3, 3, 1, 2\), got \(3, 3, 2, 2\)"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_keras_cannot_have_written_is_refused(weights: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    with h5py.File(weights, "a") as file:
        damage(file)
    with pytest.raises(InvalidKerasFile, match=message):
        read_keras_weights(weights, CONFIG)


def test_a_file_cut_anywhere_is_refused(weights: Path) -> None:
    whole = weights.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 60)):
        weights.write_bytes(whole[:size])
        with pytest.raises(InvalidKerasFile, match="HDF5"):
            read_keras_weights(weights, CONFIG)


def test_a_file_damaged_anywhere_is_read_or_refused(weights: Path) -> None:
    """HDF5 has no checksums of values: a changed weight cannot be seen, a changed structure must be."""
    whole, rng = weights.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(120):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 8):
            damaged[place] = rng.integers(0, 256)
        weights.write_bytes(damaged)
        try:
            read_keras_weights(weights, CONFIG)
        except InvalidKerasFile:
            refused += 1
    assert refused > 40


def test_a_tree_that_contains_itself_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["a/b"] = file["/"]
    with pytest.raises(InvalidKerasFile, match="does not hold Keras weights"):
        read_keras_weights(tmp_path / "w.h5", CONFIG)


def test_a_tree_of_other_layers_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        for layer in ("stem", "head"):
            file[f"layers/{layer}/vars/0"], file[f"layers/{layer}/vars/1"] = np.ones((3, 3, 1, 2)), np.ones(2)
    with pytest.raises(InvalidKerasFile, match="layers of the published network, got head"):
        read_keras_weights(tmp_path / "w.weights.h5", CONFIG)


def test_a_missing_layer_of_a_tree_is_named(tmp_path: Path) -> None:
    write_keras3(tmp_path / "w.weights.h5", NETWORK, NETWORK.draw())
    with h5py.File(tmp_path / "w.weights.h5", "a") as file:
        del file["layers/rcan/rir/RG/rg_1/cab/cab/conv2"]
    with pytest.raises(InvalidKerasFile, match=r"rcan.groups.1.cabs.0.conv2.*expected .* got"):
        read_keras_weights(tmp_path / "w.weights.h5", CONFIG)


def test_what_is_no_hdf5_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "notes.h5").write_text("no weights")
    (tmp_path / "empty.h5").touch()
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    for name, message in {
        "saved_model": "is a folder",
        "notes.h5": "is not an HDF5 file",
        "empty.h5": "is not an HDF5 file",
        "model.keras": r"give its model\.weights\.h5",
        "absent.h5": "is not a file",
    }.items():
        with pytest.raises(InvalidKerasFile, match=message):
            read_keras_weights(tmp_path / name, CONFIG)


CONTRADICTIONS = {
    "filters": ([2, 4], r"filters is \[2, 4\] in the configuration and \[2, 3\] in the weights"),
    "filters_cab": (2, "filters_cab is 2 in the configuration and 1"),
    "num_RG": (3, "num_RG is 3 in the configuration and 2"),
    "num_cab": (1, "num_cab is 1 in the configuration and 2"),
    "kernel": (7, r"kernel is 7 .* expected \(7, 7, 1, 2\), got \(3, 3, 1, 2\)"),
}


@pytest.mark.parametrize("key", CONTRADICTIONS)
@pytest.mark.parametrize("alone", [True, False])
def test_a_configuration_of_other_weights_is_refused(weights: Path, key: str, alone: bool) -> None:
    value, message = CONTRADICTIONS[key]
    stated = {"activation": "tanh", key: value} if alone else {**NETWORK.config, key: value}
    with pytest.raises(InvalidKerasFile, match=message):
        read_keras_weights(weights, KerasConfig.model_validate(stated))


def test_filters_in_another_order_are_of_other_weights(weights: Path) -> None:
    config = KerasConfig.model_validate({**NETWORK.config, "filters": [3, 2]})
    with pytest.raises(InvalidKerasFile, match=r"filters is \[3, 2\] .* and \[2, 3\] in the weights"):
        read_keras_weights(weights, config)


def test_an_even_kernel_is_refused(tmp_path: Path) -> None:
    network = Published((2, 3), 1, 1, 1, kernel=4)
    write_keras2(tmp_path / "w.h5", network, network.draw())
    with pytest.raises(InvalidKerasFile, match="expected an odd kernel, got 4"):
        read_keras_weights(tmp_path / "w.h5", KerasConfig(activation="tanh"))


def test_the_activation_must_be_told(weights: Path) -> None:
    config = KerasConfig.model_validate({k: v for k, v in NETWORK.config.items() if k != "activation"})
    with pytest.raises(InvalidKerasFile, match="expected the activation"):
        read_keras_weights(weights, config)
    assert read_keras_weights(weights, config, activation="model-code").activation == "leaky_relu"


@pytest.mark.parametrize("named", ["leaky_relu", "LeakyReLU", "relu"])
def test_what_the_published_code_did_not_know_becomes_identity_and_says_so(weights: Path, named: str) -> None:
    read = read_keras_weights(weights, CONFIG.model_copy(update={"activation": named}))
    assert read.activation == "identity"
    assert any(named in remark and "identity" in remark for remark in read.remarks)


def test_volumes_have_no_activation_option(tmp_path: Path) -> None:
    network = Published((2,), 1, 1, 1, dims=3)
    write_keras2(tmp_path / "w.h5", network, network.draw())
    read = read_keras_weights(tmp_path / "w.h5", KerasConfig(activation="tanh"))
    assert read.activation == "leaky_relu"
    assert "tanh is ignored" in read.remarks[0]


PUBLISHED_FILE = """
data:
    threshold: False
    normalization_type: instance
    normalization_range: [0, 1]
data_test:
    patch_size: 600
model:
    filters: [64, 128, 256]
    filters_cab: 4
    num_RG: 3
    num_cab: 8
    kernel: 7
    dropout: 0.2
    lr: 0.0001
    activation: leaky_relu
    kernel_initializer: glorot_uniform
    clip_value: 0.01
    save_dr: "/path_to_savedir/model.h5"
callbacks:
    num_cab: 8
    val_split : 0.1
"""


@pytest.mark.parametrize("name", ["c.yml", "c.yaml", "c.json", "flat.json", "flat.yml"])
def test_the_published_configuration_is_read_in_every_form(tmp_path: Path, name: str) -> None:
    document = {
        "model": {"filters": [64, 128, 256], "filters_cab": 4, "num_RG": 3, "num_cab": 8, "kernel": 7}
    }
    document["model"] |= {"activation": "leaky_relu", "batch_size": 10}
    text = json.dumps(document["model"] if name.startswith("flat") else document)
    (tmp_path / name).write_text(text if "json" in name or "flat" in name else PUBLISHED_FILE)
    config = read_keras_config(tmp_path / name)
    assert config.filters == (64, 128, 256)
    assert (config.num_rg, config.num_cab, config.kernel, config.activation) == (3, 8, 7, "leaky_relu")


BAD_CONFIGS = {
    "empty.yml": (b"", "not a configuration"),
    "list.yml": (b"[1, 2]", "mapping"),
    "list.json": (b"[1, 2]", "expected a mapping"),
    "half.json": (b'{"filters": [4', "not a configuration"),
    "deep.json": (b"[" * 100_000, "not a configuration"),
    "bomb.yml": (
        b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 40)),
        "expands to more than",
    ),
    "object.yml": (b"model: !!python/object/apply:os.getcwd []", "not a configuration"),
    "binary.yml": (bytes(range(128, 256)), "not a configuration"),
    "large.json": (b" " * 300_000, "at most"),
    "other.yml": (b"name: something else\nepochs: 3", "does not configure a network"),
    "scalar.yml": (b"model: 3", "expected mappings"),
    "config_2D.py": (b"CFG = {}", r"\.yml, \.yaml or \.json"),
    "width.yml": (b"filters: [4, -8]", "filters.1"),
    "none.yml": (b"filters: []", "filters"),
    "huge.yml": (b"filters: [4]\nnum_RG: 100000000", "num_RG"),
    "kernel.yml": (b"kernel: [3, 3]", "kernel"),
    "range.yml": (b"data: {normalization_range: [-1, 1]}\nmodel: {kernel: 3}", "normalization_range"),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_what_is_no_configuration_is_refused(tmp_path: Path, name: str) -> None:
    content, message = BAD_CONFIGS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidKerasFile, match=message):
        read_keras_config(tmp_path / name)


def test_normalisation_by_data_set_is_remarked(weights: Path) -> None:
    read = read_keras_weights(weights, CONFIG.model_copy(update={"normalization_type": "dataset"}))
    assert any("a common maximum" in remark for remark in read.remarks)
