"""A run: seeded, resumable to the same weights, stopped when it diverges."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from dimstream_models.training.errors import CheckpointMismatch, Diverged, InvalidRecipe
from dimstream_models.training.fitting.losses import laplacian, restoration_loss, shot_noise_weight
from dimstream_models.training.fitting.trainer import Trainer, fit, load_best
from dimstream_models.training.settings import Recipe, SimulationSettings, read_recipe, write_recipe
from dimstream_models.training.simulation.samples import Sampler


def test_a_resumed_run_has_the_weights_of_an_undisturbed_one(
    tiny_recipe: Recipe, tiny_run: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    fit(tiny_recipe, tmp_path, stop_after=17)
    fit(tiny_recipe, tmp_path)
    resumed, undisturbed = (torch.load(run / "last.pt", weights_only=True) for run in (tmp_path, tiny_run))
    assert resumed["step"] == undisturbed["step"] == tiny_recipe.fit.steps
    for name, weight in undisturbed["network"].items():
        assert torch.equal(weight, resumed["network"][name]), name
    tuned = [load_best(tiny_recipe, run).state_dict() for run in (tmp_path, tiny_run)]
    assert all(torch.equal(tuned[0][name], tuned[1][name]) for name in tuned[0])


def test_fine_tuning_goes_on_from_the_best_network(tiny_recipe: Recipe, tiny_run: Path) -> None:
    assert tiny_recipe.fine_tuning is not None
    first = torch.load(tiny_run / "best.pt", weights_only=True)
    tuned = load_best(tiny_recipe, tiny_run).state_dict()
    moved = [float((tuned[name] - weight).abs().max()) for name, weight in first.items()]
    reach = 10 * tiny_recipe.fine_tuning.steps * tiny_recipe.fine_tuning.learning_rate  # of Adam's steps
    assert 0 < max(moved) < reach


def test_a_run_learns_and_leaves_its_loss_curve(tiny_recipe: Recipe, tiny_run: Path) -> None:
    with (tiny_run / "loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [10, 20, 30, 40]
    assert float(rows[-1]["validation_loss"]) < float(rows[0]["validation_loss"])
    assert (tiny_run / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert read_recipe(tiny_run / "recipe.yaml") == tiny_recipe
    assert not load_best(tiny_recipe, tiny_run).training


def test_another_recipe_is_refused_in_the_same_folder(tiny_recipe: Recipe, tiny_run: Path) -> None:
    other = tiny_recipe.model_copy(update={"seed": 4})
    with pytest.raises(CheckpointMismatch, match="another recipe"):
        fit(other, tiny_run)


def test_a_run_that_diverges_fails(tiny_recipe: Recipe, tmp_path: Path) -> None:
    wild = tiny_recipe.model_copy(update={"fit": tiny_recipe.fit.model_copy(update={"loss_limit": 1e-3})})
    with pytest.raises(Diverged, match="lower the learning rate"):
        fit(wild, tmp_path)


def test_training_and_validation_never_share_a_scene(tiny_recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(tiny_recipe, tmp_path, "cpu")
    training, validation = (trainer._sampler(p, 2).library for p in ("training", "validation"))
    assert not any(torch.equal(a, b) for a in training for b in validation)


def test_samples_depend_on_seed_and_step_alone_and_are_poisson() -> None:
    settings = SimulationSettings(empty_share=0, background_share=0, dark_counts=(0.01, 0.011))
    sampler = Sampler(torch.ones(1, 128, 128).half(), settings, seed=1)
    first, again = (sampler.batch(7, size=4, patch_px=64) for _ in range(2))
    assert torch.equal(first.counts, again.counts)
    assert not torch.equal(first.counts, sampler.batch(8, size=4, patch_px=64).counts)
    for counts, expected in zip(first.counts.numpy(), first.expected.numpy(), strict=True):
        photons = expected[0, 0, 0]
        assert 0.25 <= photons <= 12.0
        standard_error = np.sqrt(photons / counts.size)
        assert abs(counts.mean() - photons - 0.01) < 5 * standard_error


def test_specks_shine_in_the_counts_and_not_in_what_is_learned() -> None:
    flat = {"empty_share": 0, "background_share": 0, "dark_counts": (0.001, 0.0011), "dose": (0.3, 0.31)}
    settings = SimulationSettings(speck_share=1.0, speck=(300.0, 301.0), **flat)
    batch = Sampler(torch.ones(1, 64, 64).half(), settings, seed=1).batch(0, size=8, patch_px=64)
    assert batch.counted is not None
    for counts, expected, counted in zip(batch.counts, batch.expected, batch.counted, strict=True):
        assert counts.max() > 150
        assert expected.max() < 0.4
        assert (counts * counted).max() < 10
        assert counted.mean() > 0.9


def test_what_does_not_count_does_not_change_the_loss() -> None:
    target = torch.zeros(1, 1, 8, 8)
    wrong = torch.zeros(1, 1, 8, 8)
    wrong[..., 3, 4] = 100.0
    counted = (wrong == 0).float()
    weight = torch.ones(1)
    clean = restoration_loss((target, target), target, weight, 0.05)
    assert torch.equal(restoration_loss((wrong, wrong), target, weight, 0.05, counted), clean)
    assert restoration_loss((wrong, wrong), target, weight, 0.05) > clean


def test_the_loss_is_the_published_one_on_both_outputs() -> None:
    rng = np.random.default_rng(0)
    coarse, fine, target = rng.normal(size=(3, 2, 1, 8, 9))
    weight = np.array([0.5, 2.0])

    def one(output: np.ndarray) -> float:
        error = output - target
        edges = np.stack([
            [e[:-2, 1:-1] + e[2:, 1:-1] + e[1:-1, :-2] + e[1:-1, 2:] - 4 * e[1:-1, 1:-1] for e in image]
            for image in error
        ])  # fmt: skip
        rms = [np.sqrt(np.mean(x**2, axis=(1, 2, 3)) + 1e-6) for x in (error, edges)]
        return float(np.mean(weight * (rms[0] + 0.05 * rms[1])))

    tensors = [torch.from_numpy(x) for x in (coarse, fine, target, weight)]
    loss = restoration_loss((tensors[0], tensors[1]), tensors[2], tensors[3], 0.05)
    assert float(loss) == pytest.approx(one(coarse) + one(fine))


def test_laplacian_and_weight_at_known_values() -> None:
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    assert torch.allclose(laplacian((x**2 + y**2)[None, None]), torch.full((1, 1, 3, 4), 4.0))
    assert shot_noise_weight(torch.full((2, 1, 4, 4), 0.24)).tolist() == pytest.approx([2.0, 2.0])


REFUSED = {
    "unknown key": "bundle: {id: a, name: b, description: c}\nfit: {step: 3}",
    "out of range": "bundle: {id: a, name: b, description: c}\nfit: {steps: 0}",
    "no multiple of 8": "bundle: {id: a, name: b, description: c}\nfit: {patch_px: 100}",
    "no mapping": "just words",
    "broken": "bundle: [",
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_recipes_that_cannot_be_obeyed_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with pytest.raises(InvalidRecipe, match=r"recipe\.yaml"):
        read_recipe(path)


def test_a_recipe_survives_its_file(tiny_recipe: Recipe, tmp_path: Path) -> None:
    write_recipe(tiny_recipe, tmp_path / "r.yaml")
    assert read_recipe(tmp_path / "r.yaml") == tiny_recipe
