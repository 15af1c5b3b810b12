"""Conversion of pixel sizes from and to napari layers."""

from __future__ import annotations

from typing import Any


def pixel_size_um(layer: Any) -> float | None:
    """Return the side of a layer's pixel in µm; None without a unit of length, or if pixels are not
    square."""
    (y, x), units = layer.scale[-2:], layer.units[-2:]
    if y <= 0 or abs(y - x) > 1e-6 * y or not all(unit.dimensionality == {"[length]": 1} for unit in units):
        return None
    size = float((x * units[-1]).to("micrometer").magnitude)
    return size if size > 0 else None


def placed(size_um: float | None, axes: tuple[str, ...]) -> dict[str, Any]:
    """Return `scale`, `units` and `axis_labels` of a layer with pixels of this size, (..., y, x)."""
    ahead = len(axes) - 2
    return {
        "scale": (1.0,) * ahead + (size_um or 1.0,) * 2,
        "units": ("pixel",) * ahead + (("um",) if size_um else ("pixel",)) * 2,
        "axis_labels": axes,
    }
