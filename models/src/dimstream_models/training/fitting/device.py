"""The requested device and precision of the fit, or an error if they are not available."""

from __future__ import annotations

import torch

from dimstream_models.training.errors import NotAvailable
from dimstream_models.training.settings import Precision

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def require_device(name: str) -> torch.device:
    """Return the device of that name: `cpu`, `cuda`, `cuda:1`.

    Raises
    ------
    NotAvailable
        When torch does not know it or cannot use it on this machine.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise NotAvailable(f"expected a device like cpu or cuda:0, got {name!r}") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise NotAvailable(f"expected the device cpu or cuda, got {name!r}")
    index, present = device.index or 0, torch.cuda.device_count()
    if index >= present:
        raise NotAvailable(
            f"expected the device {name}, but torch {torch.__version__} finds {present} CUDA devices: name "
            "one of these, install torch with CUDA, or use --device cpu"
        )
    return torch.device("cuda", index)


def require_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type of the network's arithmetic.

    Raises
    ------
    NotAvailable
        When mixed precision is requested on a CPU, or on a GPU without this type.
    """
    if precision != "float32" and device.type != "cuda":
        raise NotAvailable(
            f"fit.precision {precision} needs a GPU: on a {device.type.upper()} it is slower than float32 "
            "(bfloat16: 18 times slower); choose fit.precision float32 or --device cuda"
        )
    if precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise NotAvailable(
            f"{torch.cuda.get_device_name(device)} has no bfloat16: choose fit.precision float16 or float32"
        )
    return _DTYPES[precision]
