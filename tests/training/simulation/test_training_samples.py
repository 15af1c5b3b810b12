"""Samples of simulated scenes: repeatable, Poisson, with specks that nobody learns."""

import numpy as np
import torch

from dimstream_models.training.settings import SimulationSettings
from dimstream_models.training.simulation.training_samples import Sampler, SimulatedSource


def test_samples_depend_on_seed_and_step_alone_and_are_poisson() -> None:
    settings = SimulationSettings(empty_share=0, background_share=0, dark_counts=(0.01, 0.011))
    sampler = Sampler(torch.ones(1, 128, 128).half(), settings, seed=1)
    first, again = (sampler.batch(7, size=4, patch_px=64) for _ in range(2))
    assert torch.equal(first.counts, again.counts)
    assert not torch.equal(first.counts, sampler.batch(8, size=4, patch_px=64).counts)
    for counts, truth in zip(first.counts.numpy(), first.truth.numpy(), strict=True):
        photons = truth[0, 0, 0]
        assert 0.25 <= photons <= 12.0
        standard_error = np.sqrt(photons / counts.size)
        assert abs(counts.mean() - photons - 0.01) < 5 * standard_error


def test_a_source_gives_the_samplers_batches() -> None:
    sampler = Sampler(torch.rand(2, 64, 64).half(), SimulationSettings(), seed=5)
    source = SimulatedSource(sampler, size=3, patch_px=32, steps_per_epoch=7)
    assert source.steps_per_epoch == 7
    assert torch.equal(source.batch(9).counts, sampler.batch(9, size=3, patch_px=32).counts)


def test_specks_shine_in_the_counts_and_not_in_what_is_learned() -> None:
    flat = {"empty_share": 0, "background_share": 0, "dark_counts": (0.001, 0.0011), "dose": (0.3, 0.31)}
    settings = SimulationSettings(speck_share=1.0, speck=(300.0, 301.0), **flat)
    batch = Sampler(torch.ones(1, 64, 64).half(), settings, seed=1).batch(0, size=8, patch_px=64)
    assert batch.counted is not None
    for counts, truth, counted in zip(batch.counts, batch.truth, batch.counted, strict=True):
        assert counts.max() > 150
        assert truth.max() < 0.4
        assert (counts * counted).max() < 10
        assert counted.mean() > 0.9
