"""Precisions to which factors are rounded before they are multiplied."""

from typing import Final, Literal

LowerPrecision = Literal["tf32", "bfloat16", "float16"]
Precision = Literal["float32"] | LowerPrecision

LOWER: Final[dict[str, LowerPrecision]] = {"tf32": "tf32", "bf16": "bfloat16", "fp16": "float16"}
"""Precisions below float32, by their spelling in the name of a device."""

FRACTION_BITS: Final[dict[Precision, int]] = {"float32": 23, "tf32": 10, "bfloat16": 7, "float16": 10}
"""Bits of a factor's fraction that are kept."""
