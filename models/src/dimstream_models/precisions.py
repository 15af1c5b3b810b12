"""What factors are rounded to before they are multiplied."""

from typing import Final, Literal

Precision = Literal["float32", "tf32", "bfloat16", "float16"]

FRACTION_BITS: Final[dict[Precision, int]] = {"float32": 23, "tf32": 10, "bfloat16": 7, "float16": 10}
"""Bits of fraction that a factor keeps."""
