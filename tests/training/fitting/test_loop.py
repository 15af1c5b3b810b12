"""The loop of a run: its end, its failure, its interruption, its checkpoints."""

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dimstream_models.training.errors import Diverged
from dimstream_models.training.fitting import checkpoints
from dimstream_models.training.fitting.history import read_history, write_history
from dimstream_models.training.fitting.loop import Trainer
from dimstream_models.training.fitting.record import read_record

pytestmark = pytest.mark.slow

Begin = Callable[..., Trainer]
EVERYTHING = {"dropout": 0.3, "clip_value": 0.1, "schedule": "plateau", "plateau_patience": 1, "epochs": 4}


def weights(run: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    state = torch.load(run / name, weights_only=True)
    return dict(state["network"] if name == "last.pt" else state)


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("last.pt", "best.pt"):
        pairs = zip(weights(one, name).items(), weights(other, name).values(), strict=True)
        assert all(torch.equal(a, b) for (_, a), b in pairs), name
    assert (one / "loss.csv").read_bytes() == (other / "loss.csv").read_bytes()


def test_a_run_learns_and_leaves_its_curve(begin: Begin, tmp_path: Path) -> None:
    record = begin(epochs=6, learning_rate=0.02).train()
    rows = read_history(tmp_path)
    assert [row.step for row in rows] == [5, 10, 15, 20, 25, 30]
    assert rows[-1].validation_loss < 0.7 * rows[0].validation_loss
    drawn = (tmp_path / "loss.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    write_history(rows, tmp_path)
    assert drawn == (tmp_path / "loss.png").read_bytes()  # of all epochs, though not drawn after each
    assert (record.state, read_record(tmp_path)) == ("finished", record)


def test_a_resumed_run_is_an_undisturbed_one(begin: Begin, tmp_path: Path) -> None:
    begin(tmp_path / "undisturbed", **EVERYTHING).train()
    for number, stops in enumerate([[1], [5], [7, 8, 19], [*range(1, 20)]]):
        stopped = tmp_path / f"stopped {number}"
        for stop in stops:
            assert begin(stopped, **EVERYTHING).train(stop).state == "stopped"
        begin(stopped, **EVERYTHING).train()
        assert_same_run(tmp_path / "undisturbed", stopped)


def test_dropout_differs_from_step_to_step_and_from_seed_to_seed(begin: Begin) -> None:
    learner = begin(dropout=0.5).learner
    batch = begin().sources.training.batch(0)
    losses = []
    for seed, step in [(0, 0), (0, 0), (0, 1), (1, 0)]:
        learner.seed = seed
        before = learner.network.state_dict()
        kept = {name: value.clone() for name, value in before.items()}
        losses.append(float(learner.step(batch, step, 0.0)[0]))
        learner.network.load_state_dict(kept)
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_early_stopping_ends_the_run(begin: Begin, tmp_path: Path) -> None:
    record = begin(epochs=50, learning_rate=1e-30, early_stopping_patience=2).train()
    assert record.state == "finished"
    assert len(read_history(tmp_path)) == 3  # the first is the best, two bring nothing


def test_the_best_network_is_kept(begin: Begin, tmp_path: Path) -> None:
    def wild_after_two_epochs(step: int) -> float:
        return 1.0 if step < 10 else 50.0

    begin(epochs=4, learning_rate=0.05, early_stopping_patience=None, spoil=wild_after_two_epochs).train()
    losses = [row.validation_loss for row in read_history(tmp_path)]
    trainer = begin(epochs=4, learning_rate=0.05, early_stopping_patience=None)
    trainer.learner.network.load_state_dict(weights(tmp_path, "best.pt"))
    assert trainer.learner.validate(trainer.sources.validation) == min(losses)
    assert min(losses) < losses[-1]


@pytest.mark.parametrize("spoilt", [math.nan, math.inf, 1e5], ids=str)
@pytest.mark.parametrize("step", [2, 8])
def test_a_run_that_diverges_fails_at_once(begin: Begin, tmp_path: Path, spoilt: float, step: int) -> None:
    trainer = begin(epochs=100, spoil=lambda now: spoilt if now == step else 1.0)
    with pytest.raises(Diverged, match=rf"by step {step + 1}, above the limit of 1000: lower the learning"):
        trainer.train()
    record = read_record(tmp_path)
    assert record.state == "failed"
    assert record.reason is not None
    assert f"step {step + 1}" in record.reason
    last = read_history(tmp_path)[-1]
    assert last.step == step + 1
    assert math.isnan(last.validation_loss)
    assert not last.training_loss < 1000
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "best.pt").exists() == (step > 5)


def test_a_validation_that_diverges_fails(begin: Begin) -> None:
    trainer = begin(learning_rate=1e6, loss_limit=1e9, clip_norm=None)
    with pytest.raises(Diverged, match="lower the learning rate"):
        trainer.train()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_is_kept_and_goes_on(begin: Begin, tmp_path: Path, number: signal.Signals) -> None:
    def stop_at_seven(step: int) -> float:
        if step == 7:
            os.kill(os.getpid(), number)
        return 1.0

    begin(tmp_path / "undisturbed").train()
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        begin(tmp_path / "stopped", spoil=stop_at_seven).train()
    assert signal.getsignal(number) == before
    assert read_record(tmp_path / "stopped").state == "stopped"
    rows = read_history(tmp_path / "stopped")
    assert 5 < rows[-1].step < 10
    assert math.isnan(rows[-1].validation_loss)
    assert (tmp_path / "stopped" / "best.pt").exists()
    begin(tmp_path / "stopped").train()
    assert_same_run(tmp_path / "undisturbed", tmp_path / "stopped")


def test_a_kill_between_last_and_best_loses_neither(begin: Begin, tmp_path: Path) -> None:
    begin(tmp_path / "undisturbed").train(5)
    begin(tmp_path / "killed").train(5)
    (tmp_path / "killed" / "best.pt").unlink()
    begin(tmp_path / "killed")
    assert_same_run(tmp_path / "undisturbed", tmp_path / "killed")


def test_a_kill_within_a_write_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    checkpoints.save({"step": 1}, path)

    def killed(descriptor: int) -> None:
        raise SystemExit("killed before the new file is whole")

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(SystemExit):
        checkpoints.save({"step": 2}, path)
    assert checkpoints.load(path) == {"step": 1}


def test_checkpoints_come_within_an_epoch(begin: Begin, tmp_path: Path) -> None:
    seen = []

    def look(step: int) -> float:
        if (tmp_path / "last.pt").exists():
            seen.append(torch.load(tmp_path / "last.pt", weights_only=True)["step"])
        return 1.0

    begin(epochs=1, checkpoint_every_s=1e-9, spoil=look).train()
    assert set(seen) & {1, 2, 3, 4}
