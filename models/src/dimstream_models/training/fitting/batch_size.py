"""The largest batch that fits into memory: found by trying on a GPU, and by measuring one step on a CPU."""

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

HEADROOM = 0.05  # share of a GPU's memory, reserved for waiting data and fragmentation
CPU_SHARE = 0.5  # share of the free memory: the machine has other work, and a fit must not swap
CPU_OVERHEAD = (
    1.5  # peak memory relative to that kept for backpropagation; measured: 0.8 to 1.2 at a batch of 2 or more
)
MEMINFO = Path("/proc/meminfo")
CONTROL_GROUPS = (  # version 2 and 1: folder, limit, usage
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
_MEBI = 2**20


def find_largest_batch(recipe: Recipe, device: torch.device) -> int:
    """Return how many patches of the recipe fit into one step, at most `fit.batch_limit`.

    Source: the paper's Methods, "Network training" (the largest number before an out-of-memory error).

    Raises
    ------
    OutOfMemory
        When not even one patch fits.
    NotAvailable
        When the operating system does not state how much memory is free.
    """
    limit = recipe.fit.batch_limit
    if device.type == "cuda":
        found = largest_that_fits(lambda number: _fits_gpu(recipe, device, number), limit)
    else:
        weights, patch = _memory_of_a_step(recipe)
        found = min(limit, int((CPU_SHARE * free_memory() - weights) / patch))
    if found < 1:
        raise OutOfMemory(
            f"not even one patch of {recipe.fit.patch_px} px fits into the memory of {device}: choose a "
            "smaller fit.patch_px or a smaller network"
        )
    return found


def largest_that_fits(fits: Callable[[int], bool], limit: int) -> int:
    """Return the largest number up to `limit` that fits, or 0, by doubling and then bisection."""
    good, bad = 0, limit + 1
    while bad - good > 1:
        number = min(max(1, 2 * good), limit) if bad == limit + 1 else (good + bad) // 2
        if fits(number):
            good = number
        else:
            bad = number
    return good


def free_memory() -> int:
    """Return the free memory of this process in bytes: the machine's, or that of its control group.

    Raises
    ------
    NotAvailable
        When the operating system does not state it.
    """
    try:
        lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError) as error:
        raise NotAvailable(
            "this operating system does not state how much memory is free: give a number as fit.batch"
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
    except (
        OutOfMemory,
        torch.OutOfMemoryError,
    ):  # in a step, or when memory was reserved for ballast and weights
        return False
    finally:
        gc.collect()
        torch.cuda.empty_cache()
    return True


def _take_two_steps(recipe: Recipe, device: torch.device, number: int) -> None:
    """Take two steps: during the second, the optimiser's state is in memory too."""
    learner = Learner(recipe, device=device)
    for step in range(2):
        learner.step(_some_batch(recipe, device, number), step, recipe.fit.learning_rate)
    torch.cuda.synchronize(device)


def _memory_of_a_step(recipe: Recipe) -> tuple[float, float]:
    """Return the bytes of weights, gradients and optimiser, and the bytes of each patch.

    The memory that autograd keeps for backpropagation is measured in a real step of one patch.
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
