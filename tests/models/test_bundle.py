"""What is written is what is read, the same draft gives the same bytes, and other people's bundles work."""

import dataclasses
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import pytest
import yaml

import dimstream_models
from dimstream_models import bundle
from dimstream_models.arithmetic import Array
from dimstream_models.bundle import (
    Author,
    Bundle,
    BundleDraft,
    Clip,
    EnsureDtype,
    FixedZeroMeanUnitVariance,
    ScaleLinear,
    SsimSettings,
    Thresholds,
    ZeroMeanUnitVariance,
    apply_steps,
    check_test_output,
    check_test_tensor,
    pack_bundle,
    read_attachment,
    read_bundle,
    write_bundle,
)

Network = Callable[[Array], Array]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_is_read_as_it_was_written(written: Bundle, draft: BundleDraft) -> None:
    read = read_bundle(written.source)
    assert (read.id, read.name, read.description) == (draft.id, draft.name, draft.description)
    assert read.onnx == draft.onnx
    assert read.sha256 == hashlib.sha256(draft.onnx).hexdigest()
    assert (read.gain, read.offset, read.clip_min, read.clip_max) == (12.5, 0.25, 0.0, 400.0)
    assert (read.step, read.min_side, read.input_axes, read.output_axes) == (8, 8, "bcyx", "bcyx")
    assert read.preprocessing == (EnsureDtype("float32"),)
    assert read.postprocessing == (ScaleLinear(12.5, 0.25), Clip(0.0, 400.0))
    assert read.documentation == draft.documentation
    assert read.config is not None
    assert read.config.model_copy(update={"files": {}}) == draft.config
    assert (read.ssim, read.thresholds) == (draft.config.ssim, draft.config.thresholds)
    np.testing.assert_array_equal(read.test_input, draft.test_input)
    np.testing.assert_array_equal(read.test_output, draft.test_output)


def test_the_same_draft_gives_the_same_bytes(written: Bundle, draft: BundleDraft, tmp_path: Path) -> None:
    again = write_bundle(tmp_path / "again", draft)
    assert bytes_of(again.source) == bytes_of(written.source)
    pack_bundle(written.source, tmp_path / "a.zip")
    pack_bundle(again.source, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_zip_reads_like_its_folder(written: Bundle, tmp_path: Path) -> None:
    packed = pack_bundle(written.source, tmp_path / "tiny.zip")
    assert packed.source == tmp_path / "tiny.zip"
    for field in dataclasses.fields(Bundle):
        if field.name not in ("source", "test_input", "test_output"):
            assert getattr(packed, field.name) == getattr(written, field.name)
    assert read_attachment(packed, "sample/movie.tif") == b"II*\0 a sample movie"


def test_an_attachment_is_read_from_the_folder(written: Bundle) -> None:
    assert written.attachments == ("sample/movie.tif",)
    assert read_attachment(written, "sample/movie.tif") == b"II*\0 a sample movie"
    with pytest.raises(bundle.MissingFile, match=r"no attachment 'weights\.onnx'"):
        read_attachment(written, "weights.onnx")


def test_the_network_reproduces_its_test_output(written: Bundle, network: Network) -> None:
    check_test_tensor(written, network)
    check_test_output(written, written.test_output[0, 0])


def test_a_wrong_test_tensor_is_refused(draft: BundleDraft, tmp_path: Path, network: Network) -> None:
    wrong = draft.test_output.copy()
    wrong[0, 0, 3, 5] += 1.0
    read = write_bundle(tmp_path / "wrong", dataclasses.replace(draft, test_output=wrong))
    with pytest.raises(bundle.TestTensorMismatch, match=r"tiny-unet.* 1 of 1536 pixels differ, by up to 1"):
        check_test_tensor(read, network)


@pytest.mark.parametrize(
    ("output", "message"),
    [(np.zeros((1, 1, 32, 32)), "shape"), (np.full((32, 48), np.nan), "1536 of 1536 pixels")],
)
def test_an_output_that_cannot_be_compared_is_refused(written: Bundle, output: Array, message: str) -> None:
    with pytest.raises(bundle.TestTensorMismatch, match=message):
        check_test_output(written, output)


def test_an_existing_folder_is_replaced_only_when_asked(written: Bundle, draft: BundleDraft) -> None:
    with pytest.raises(bundle.BundleExists, match="exists already"):
        write_bundle(written.source, draft)
    assert write_bundle(written.source, dataclasses.replace(draft, gain=2.0), replace=True).gain == 2.0
    assert sorted(path.name for path in written.source.parent.iterdir()) == [
        "movie-to-attach.tif",
        "tiny-unet",
    ]


def test_a_folder_that_holds_no_bundle_is_never_replaced(draft: BundleDraft, tmp_path: Path) -> None:
    with pytest.raises(bundle.BundleExists, match="other than a bundle"):
        write_bundle(tmp_path, draft, replace=True)


DRAFTS: dict[str, tuple[dict[str, Any], type[bundle.BundleError], str]] = {
    "id with a slash": ({"id": "a/b"}, bundle.InvalidBundle, "id 'a/b'"),
    "name too short": ({"name": "UNet"}, bundle.InvalidBundle, "name 'UNet'"),
    "no authors": ({"authors": ()}, bundle.InvalidBundle, "authors"),
    "author with a slash": ({"authors": (Author("A/B"),)}, bundle.InvalidBundle, "authors"),
    "documentation without validation": ({"documentation": "# Hm"}, bundle.InvalidBundle, "Validation"),
    "cover that is no PNG": ({"cover": b"GIF89a"}, bundle.InvalidBundle, "PNG"),
    "weights that are none": ({"onnx": b"nothing"}, bundle.NotOnnx, "weights.onnx"),
    "test output with nan": ({"test_output": np.full((1, 1, 32, 48), np.nan)}, bundle.InvalidBundle, "nan"),
    "sides that are no multiples": ({"min_side": 12}, bundle.UnsupportedModel, "multiples"),
    "clip upside down": ({"clip_min": 5.0, "clip_max": 1.0}, bundle.UnknownProcessing, "not below"),
    "attachment that is not there": ({"attachments": {"a": Path("none")}}, bundle.MissingFile, "'a'"),
    "attachment that climbs out": ({"attachments": {"../a": Path("a")}}, bundle.UnsafePath, "'../a'"),
    "attachment over a file": ({"attachments": {"readme.md": Path("a")}}, bundle.InvalidBundle, "readme.md"),
}


@pytest.mark.parametrize("name", DRAFTS)
def test_a_wrong_draft_leaves_nothing_behind(draft: BundleDraft, tmp_path: Path, name: str) -> None:
    change, error, message = DRAFTS[name]
    with pytest.raises(error, match=message):
        write_bundle(tmp_path / "out" / "wrong", dataclasses.replace(draft, **change))
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_scaling_that_changes_nothing_is_left_out(draft: BundleDraft, tmp_path: Path) -> None:
    plain = dataclasses.replace(draft, gain=1.0, offset=0.0, clip_min=0.0, clip_max=None)
    read = write_bundle(tmp_path / "plain", plain)
    assert read.postprocessing == (Clip(0.0, None),)
    assert (read.gain, read.offset, read.clip_min, read.clip_max) == (None, None, 0.0, None)


# --- other people's bundles ---------------------------------------------------------------------------


class Foreign(Protocol):
    def __call__(
        self,
        *,
        layout: str = "bcyx",
        pre: Any = (),
        post: Any = (),
        dtype: str = "float32",
        id: str | None = None,
    ) -> Path: ...


@pytest.fixture
def foreign(written: Bundle) -> Foreign:
    """Description as the zoo's models have it: no config.dimstream, no hashes, parameters of its own."""

    def make(
        *, layout: str = "bcyx", pre: Any = (), post: Any = (), dtype: str = "float32", id: str | None = None
    ) -> Path:
        folder = written.source
        content = yaml.safe_load((folder / "bioimageio.yaml").read_text())
        for side, name in (("inputs", "test_input"), ("outputs", "test_output")):
            tensor = content[side][0]
            tensor["axes"] = [
                axis for axis in tensor["axes"] if (axis.get("id") or axis["type"][0]) in layout
            ]
            tensor["test_tensor"] = {"source": f"{name}.npy"}
            values = np.load(folder / f"{name}.npy")
            np.save(folder / f"{name}.npy", values.reshape((1,) * (len(layout) - 2) + values.shape[-2:]))
        content["inputs"][0] |= {"preprocessing": list(pre), "data": {"type": dtype}}
        content["outputs"][0]["postprocessing"] = list(post)
        content |= {"config": {"bioimageio": {"nickname": "shy-lion"}}, "format_version": "0.5.9"}
        content |= {"covers": ["https://example.org/cover.png"], "license": "MIT", "id": id}
        del content["weights"]["onnx"]["sha256"]
        (folder / "bioimageio.yaml").unlink()
        (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
        return folder

    return make


@pytest.mark.parametrize("layout", ["bcyx", "byx", "cyx", "yx"])
def test_other_peoples_axes_are_understood(foreign: Foreign, layout: str) -> None:
    read = read_bundle(foreign(layout=layout))
    assert (read.input_axes, read.output_axes) == (layout, layout)
    assert read.test_input.shape == (1,) * (len(layout) - 2) + (32, 48)


def test_other_peoples_bundles_get_the_papers_settings_and_no_threshold(foreign: Foreign) -> None:
    read = read_bundle(foreign(id="10.5281/zenodo.1234/5"))
    assert read.config is None
    assert read.id == "10.5281-zenodo.1234-5"
    assert read.thresholds == Thresholds(ssim=None, background_max=5, signal_min=25, window_px=10)
    assert read.ssim == SsimSettings(normalisation="maximum", data_range=1.0, window=7)


def test_a_bundle_without_id_is_called_as_its_folder(foreign: Foreign) -> None:
    assert read_bundle(foreign()).id == "tiny-unet"


def test_known_processing_is_read_with_all_its_numbers(foreign: Foreign) -> None:
    read = read_bundle(
        foreign(
            pre=[
                {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
                {"id": "scale_linear", "kwargs": {"axis": "channel", "gain": [2.0], "offset": [1]}},
                {"id": "clip", "kwargs": {"min": 0}},
                {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 3.5, "std": 2}},
                {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"], "eps": "1e-5"}},
                {"id": "zero_mean_unit_variance"},
            ],
            post=[{"id": "scale_linear", "kwargs": {"offset": 3.0}}, {"id": "clip", "kwargs": {"max": 9.0}}],
        )
    )
    assert read.preprocessing == (
        EnsureDtype("float32"),
        ScaleLinear(2.0, 1.0),
        Clip(0.0, None),
        FixedZeroMeanUnitVariance(3.5, 2.0),
        ZeroMeanUnitVariance(1e-5),
        ZeroMeanUnitVariance(1e-6),
        EnsureDtype("float32"),
    )
    assert read.postprocessing == (ScaleLinear(1.0, 3.0), Clip(None, 9.0))


def test_the_casts_that_the_standard_implies_are_made(foreign: Foreign) -> None:
    cast = {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}
    normalise = {"id": "zero_mean_unit_variance", "kwargs": {}}
    read = read_bundle(foreign(dtype="uint8", pre=[normalise, cast]))
    assert read.preprocessing == (EnsureDtype("uint8"), ZeroMeanUnitVariance(1e-6), EnsureDtype("float32"))


def test_steps_compute_what_the_standard_says() -> None:
    counts = np.array([[0, 2], [4, 300]], np.uint16)
    assert apply_steps([EnsureDtype("uint8")], counts).tolist() == [[0, 2], [4, 255]]
    assert apply_steps([EnsureDtype("uint16")], np.array([-1.0, 1.9])).tolist() == [0, 1]
    assert apply_steps([ScaleLinear(2.0, 1.0), Clip(2.0, 9.0)], counts).tolist() == [[2, 5], [9, 9]]
    assert apply_steps([FixedZeroMeanUnitVariance(2.0, 4.0)], counts).tolist() == [[-0.5, 0], [0.5, 74.5]]
    standard = apply_steps([ZeroMeanUnitVariance(0.1)], counts)
    np.testing.assert_allclose(standard, (counts - counts.mean()) / (counts.std() + 0.1), rtol=1e-6)
    assert standard.dtype == np.float32


def test_reading_bundles_loads_no_runtime() -> None:
    heavy = ["onnx", "onnxruntime", "torch", "scipy", "skimage", "bioimageio", "zmq", "fastapi", "asyncio"]
    code = f"import sys, dimstream_models.bundle; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_public_names_are_those_promised() -> None:
    for module in (dimstream_models, bundle):
        public = {
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and not isinstance(value, ModuleType)
        }
        assert public == set(module.__all__)
