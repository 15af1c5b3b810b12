"""The largest batch that the memory holds: found by trying on a GPU, by measuring one step on a CPU."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from dimstream_models.training.errors import NotAvailable, OutOfMemory
from dimstream_models.training.fitting.batches import Batch
from dimstream_models.training.fitting.learner import Learner
from dimstream_models.training.settings import Recipe

HEADROOM = 0.05  # of a GPU's memory, for data that waits and for what fragments
CPU_SHARE = 0.5  # of the free memory: the machine has other work, and a swapping fit is none
CPU_OVERHEAD = 1.5  # peak over what is kept for the way back; measured: 0.8 to 1.2 at a batch of 2 or more
MEMINFO = Path("/proc/meminfo")
CONTROL_GROUPS = (  # version 2 and 1: folder, what is allowed, what is used
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
_MEBI = 2**20


def find_largest_batch(recipe: Recipe, device: torch.device) -> int:
    """Return how many patches of the recipe fit a step, at most `fit.batch_limit`.

    Source: the paper's Methods, "Network training" (the largest number before an out-of-memory error).

    Raises
    ------
    OutOfMemory
        When not even one does.
    NotAvailable
        When the system does not say how much memory is free.
    """
    limit = recipe.fit.batch_limit
    if device.type == "cuda":
        found = largest_that_fits(lambda number: _fits_gpu(recipe, device, number), limit)
    else:
        weights, patch = _memory_of_a_step(recipe)
        found = min(limit, int((CPU_SHARE * free_memory() - weights) / patch))
    if found < 1:
        raise OutOfMemory(
            f"not even one patch of {recipe.fit.patch_px} px fits the memory of {device}: expected a smaller"
            " fit.patch_px or a smaller network"
        )
    return found


def largest_that_fits(fits: Callable[[int], bool], limit: int) -> int:
    """Return the largest number up to `limit` that fits, 0 when 1 does not: doubling, then halving gaps."""
    good, bad = 0, limit + 1
    while bad - good > 1:
        number = min(max(1, 2 * good), limit) if bad == limit + 1 else (good + bad) // 2
        if fits(number):
            good = number
        else:
            bad = number
    return good


def free_memory() -> int:
    """Return the bytes that this process may still take: the machine's, or its control group's.

    Raises
    ------
    NotAvailable
        When the system does not say.
    """
    try:
        lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError) as error:
        raise NotAvailable(
            "this system does not say how much memory is free: expected a number as fit.batch"
        ) from error
    for group, allowed, used in CONTROL_GROUPS:
        with suppress(OSError, ValueError):  # no such group, or its bound is "max"
            free = min(free, int((group / allowed).read_text()) - int((group / used).read_text()))
    return max(0, free)


def _fits_gpu(recipe: Recipe, device: torch.device, number: int) -> bool:
    total = torch.cuda.get_device_properties(device).total_memory
    try:
        ballast = torch.empty(int(HEADROOM * total), dtype=torch.uint8, device=device)
        _take_two_steps(recipe, device, number)
        del ballast
    except (OutOfMemory, torch.OutOfMemoryError):  # in a step, or for ballast and weights
        return False
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    return True


def _take_two_steps(recipe: Recipe, device: torch.device, number: int) -> None:
    """Take two steps: the second has the optimiser's state next to it."""
    learner = Learner(recipe, device=device)
    for step in range(2):
        learner.step(_some_batch(recipe, device, number), step, recipe.fit.learning_rate)
    torch.cuda.synchronize(device)


def _memory_of_a_step(recipe: Recipe) -> tuple[float, float]:
    """Return the bytes that weights, gradients and optimiser take, and those of each patch.

    What autograd keeps for the way back is counted in a real step of one patch.
    """
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    device = torch.device("cpu")
    learner = Learner(recipe, device=device)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        learner.step(_some_batch(recipe, device, 1), 0, recipe.fit.learning_rate)
    weights = sum(parameter.nbytes for parameter in learner.network.parameters())
    return 4.0 * weights, CPU_OVERHEAD * max(sum(kept.values()), _MEBI)


def _some_batch(recipe: Recipe, device: torch.device, number: int) -> Batch:
    shape = (number, 1, recipe.fit.patch_px, recipe.fit.patch_px)
    counts = torch.ones(shape, device=device)
    return Batch(counts, counts, counts)
