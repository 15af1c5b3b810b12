"""A run on simulated scenes: resumed, fine-tuned, recorded, refused."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dimstream_models.training.errors import CheckpointMismatch, Diverged, InvalidRecipe, NotAvailable
from dimstream_models.training.fitting.sources import open_sources
from dimstream_models.training.fitting.trainer import fit, load_best, read_history, read_record
from dimstream_models.training.settings import Recipe, read_recipe


def changed(recipe: Recipe, **parts: dict[str, Any] | int | None) -> Recipe:
    """The recipe with some keys of some parts changed."""
    settings = recipe.model_dump()
    for name, values in parts.items():
        settings[name] = settings[name] | values if isinstance(values, dict) else values
    return Recipe.model_validate(settings)


@pytest.mark.slow
def test_a_resumed_run_has_the_weights_of_an_undisturbed_one(
    tiny_recipe: Recipe, tiny_run: Path, tmp_path: Path
) -> None:
    fit(tiny_recipe, tmp_path, stop_after=17)
    fit(tiny_recipe, tmp_path)
    resumed, undisturbed = (torch.load(run / "last.pt", weights_only=True) for run in (tmp_path, tiny_run))
    assert resumed["step"] == undisturbed["step"] == 40
    for name, weight in undisturbed["network"].items():
        assert torch.equal(weight, resumed["network"][name]), name
    tuned = [load_best(tiny_recipe, run).state_dict() for run in (tmp_path, tiny_run)]
    assert all(torch.equal(tuned[0][name], tuned[1][name]) for name in tuned[0])


@pytest.mark.slow
def test_fine_tuning_goes_on_from_the_best_network(tiny_recipe: Recipe, tiny_run: Path) -> None:
    assert tiny_recipe.fine_tuning is not None
    first = torch.load(tiny_run / "best.pt", weights_only=True)
    tuned = load_best(tiny_recipe, tiny_run).state_dict()
    moved = [float((tuned[name] - weight).abs().max()) for name, weight in first.items()]
    steps = read_history(tiny_run / "fine-tuning")[-1].step
    assert 0 < max(moved) < 10 * steps * tiny_recipe.fine_tuning.learning_rate  # reach of Adam's steps


@pytest.mark.slow
def test_a_run_leaves_its_settings_and_its_record(tiny_recipe: Recipe, tiny_run: Path) -> None:
    assert read_recipe(tiny_run / "recipe.yaml") == tiny_recipe
    record = read_record(tiny_run)
    assert record.settings == tiny_recipe.model_dump(mode="json")
    assert (record.seed, record.batch, record.device, record.dose_ratio) == (3, 2, "cpu", 1.0)
    assert record.versions["torch"] == torch.__version__
    assert set(record.data) == {"training scenes", "validation scenes"}
    assert not load_best(tiny_recipe, tiny_run).training


def test_a_finished_run_is_left_alone(tiny_recipe: Recipe, tiny_run: Path) -> None:
    files = [tiny_run / name for name in ("last.pt", "best.pt", "fine-tuning/last.pt", "record.json")]
    before = [path.stat().st_mtime_ns for path in files]
    fit(changed(tiny_recipe, bundle={"name": "another name"}), tiny_run)
    assert [path.stat().st_mtime_ns for path in files] == before
    assert read_recipe(tiny_run / "recipe.yaml").bundle.name == "another name"
    fit(tiny_recipe, tiny_run)


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"seed": 4}, "seed is 3 in the run and 4 in the recipe"),
    ({"fit": {"learning_rate": 1e-2}}, r"fit\.learning_rate is 0\.001 in the run and 0\.01"),
    ({"network": {"filters": (3, 4)}}, r"network\.filters is \[2, 3\] in the run and \[3, 4\]"),
    ({"fine_tuning": {"speck_share": 0.6}}, r"simulation\.speck_share is 0\.5 in the run and 0\.6"),
]


@pytest.mark.parametrize(("parts", "said"), OTHERS, ids=lambda each: str(each)[:30])
def test_another_recipe_is_refused_naming_what_differs(
    tiny_recipe: Recipe, tiny_run: Path, parts: dict[str, Any], said: str
) -> None:
    with pytest.raises(CheckpointMismatch, match=said):
        fit(changed(tiny_recipe, **parts), tiny_run)


@pytest.mark.slow
def test_a_failed_run_is_not_gone_on_with(tiny_recipe: Recipe, tmp_path: Path) -> None:
    wild = changed(tiny_recipe, fit={"loss_limit": 1e-3})
    with pytest.raises(Diverged, match="lower the learning rate"):
        fit(wild, tmp_path)
    with pytest.raises(Diverged, match=r"has failed: the loss reached .*; choose other settings"):
        fit(wild, tmp_path)


def test_it_rests_after_each_step_where_it_is_to_give_way(tiny_recipe: Recipe, tmp_path: Path) -> None:
    steps: list[int] = []
    fit(tiny_recipe, tmp_path, stop_after=3, rest=lambda: steps.append(1))
    assert len(steps) == 3


def test_other_data_are_refused(tiny_recipe: Recipe, tmp_path: Path) -> None:
    fit(tiny_recipe, tmp_path, stop_after=3)
    record = (tmp_path / "record.json").read_text()
    sha256 = read_record(tmp_path).data["training scenes"]
    (tmp_path / "record.json").write_text(record.replace(sha256, "0" * 64))
    with pytest.raises(CheckpointMismatch, match=r"the data of .* have changed"):
        fit(tiny_recipe, tmp_path)


def test_a_checkpoint_without_a_record_is_refused(tiny_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"")
    with pytest.raises(CheckpointMismatch, match="expected a run that `dimstream-train fit` wrote"):
        fit(tiny_recipe, tmp_path)


def test_a_folder_of_something_else_is_refused_and_left_alone(tiny_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("# with my comments\n")
    with pytest.raises(CheckpointMismatch, match="of something else: choose another"):
        fit(tiny_recipe, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    assert (tmp_path / "recipe.yaml").read_text() == "# with my comments\n"


@pytest.mark.slow
def test_what_a_kill_before_the_record_left_is_no_obstacle(tiny_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "record.json.partial").write_text("{")
    (tmp_path / "tensorboard").mkdir()
    fit(tiny_recipe, tmp_path, stop_after=1)
    assert read_record(tmp_path).state == "stopped"


def test_a_run_without_a_network_says_so(tiny_recipe: Recipe, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatch, match=r"expected a checkpoint at .*best\.pt"):
        load_best(tiny_recipe, tmp_path)
    with pytest.raises(CheckpointMismatch, match="is not a network of this recipe"):
        load_best(changed(tiny_recipe, network={"filters": (4, 5)}), tiny_run)


def test_a_gpu_that_is_not_there_is_refused(tiny_recipe: Recipe, tmp_path: Path) -> None:
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(NotAvailable, match=f"expected the device {missing}, but torch .* finds"):
        fit(tiny_recipe, tmp_path / "run", device=missing)
    for name in ("gpu", "meta"):
        with pytest.raises(NotAvailable, match=r"expected (a|the) device"):
            fit(tiny_recipe, tmp_path / "run", device=name)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_on_a_cpu_is_refused(tiny_recipe: Recipe, tmp_path: Path, precision: str) -> None:
    with pytest.raises(NotAvailable, match=f"{precision} needs a GPU"):
        fit(changed(tiny_recipe, fit={"precision": precision}), tmp_path / "run")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_learns_in_every_precision(tiny_recipe: Recipe, tmp_path: Path, precision: str) -> None:
    fit(changed(tiny_recipe, fit={"precision": precision}), tmp_path, device="cuda", stop_after=17)
    fit(changed(tiny_recipe, fit={"precision": precision}), tmp_path, device="cuda")
    rows = read_history(tmp_path)
    assert rows[-1].validation_loss < rows[0].validation_loss


def test_training_and_validation_never_share_a_scene(tiny_recipe: Recipe) -> None:
    sources = open_sources(tiny_recipe, batch=2, device=torch.device("cpu"))
    training, validation = (source._sampler.library for source in (sources.training, sources.validation))
    assert not any(torch.equal(a, b) for a in training for b in validation)


def test_splitting_photons_wants_pairs(tiny_recipe: Recipe) -> None:
    with pytest.raises(InvalidRecipe, match="splitting photons needs pairs"):
        tiny_recipe.with_split_photons()


@pytest.mark.slow
def test_tensorboard_gets_the_curve(tiny_recipe: Recipe, tmp_path: Path) -> None:
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    fit(changed(tiny_recipe, fine_tuning=None), tmp_path, tensorboard=True, stop_after=20)
    log = accumulators.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = {each.step: each.value for each in log.Scalars("validation_loss")}
    assert found == pytest.approx({row.step: row.validation_loss for row in read_history(tmp_path)})


def test_tensorboard_that_is_missing_is_asked_for(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(NotAvailable, match=r"pip install 'dimstream-models\[tensorboard\]'"):
        fit(tiny_recipe, tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()
