"""What a pixel of the ER shows: background, tubule, sheet, or a tubule on a sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dimstream_models.analysis.errors import InvalidLabels

Labels: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.bool_]


class Structure(IntEnum):
    """Structure that a pixel shows; the values of label images."""

    BACKGROUND = 0
    TUBULE = 1
    SHEET = 2
    SHEET_TUBULE = 3


@dataclass(frozen=True)
class LabelValues:
    """The meaning of the values of a label image.

    Parameters
    ----------
    structures : tuple of (int, Structure)
        Every possible value and its meaning.
    """

    structures: tuple[tuple[int, Structure], ...]

    def labels(self, image: NDArray[Any], name: str = "the label image") -> Labels:
        """Return the labels, (H, W) uint8 of `Structure`, of an image of values, (H, W) of whole numbers.

        Raises
        ------
        InvalidLabels
            When a value has no meaning.
        """
        if image.ndim != 2:
            raise InvalidLabels(f"{name}: expected labels (H, W), got {image.shape}")
        found, meaning = np.unique(image), dict(self.structures)
        if unknown := [f"{value:g}" for value in found if value not in meaning]:
            raise InvalidLabels(
                f"{name}: expected the values {self}, got {', '.join(unknown[:8])}: give the meaning of "
                "each value (--label-values)"
            )
        out = np.zeros(image.shape, np.uint8)
        for value in found:
            out[image == value] = meaning[int(value)]
        return out

    def __str__(self) -> str:
        return ", ".join(f"{kind.name.lower()}={value}" for value, kind in self.structures)

    @classmethod
    def parse(cls, text: str) -> LabelValues:
        """Return the meanings in a text such as ``tubule=1,sheet=2``; 0 is background unless stated
        otherwise.

        ``dimstream`` and ``ernet`` stand for the values of dimstream and those of ERnet v2.

        Raises
        ------
        InvalidLabels
            When it names an unknown structure, or a value twice.
        """
        if text in NAMED:
            return NAMED[text]
        structures: dict[int, Structure] = {}
        for part in text.split(","):
            kind, _, value = part.strip().partition("=")
            if kind.upper() not in Structure.__members__ or not value.isdecimal() or int(value) in structures:
                names = ", ".join(each.name.lower() for each in Structure)
                raise InvalidLabels(
                    f"expected label values such as tubule=1,sheet=2 (of {names}), or one of"
                    f" {', '.join(NAMED)}, got {text!r}"
                )
            structures[int(value)] = Structure[kind.upper()]
        structures.setdefault(0, Structure.BACKGROUND)
        return cls(tuple(sorted(structures.items())))


OURS: Final = LabelValues(tuple((int(kind), kind) for kind in Structure))
ERNET: Final = LabelValues(
    (
        (0, Structure.BACKGROUND),
        (1, Structure.SHEET_TUBULE),
        (2, Structure.TUBULE),
        (3, Structure.SHEET),
    )
)
NAMED: Final[Mapping[str, LabelValues]] = MappingProxyType({"dimstream": OURS, "ernet": ERNET})


def merged(labels: Labels) -> Labels:
    """Return labels (H, W) in which tubules on sheets are sheets, as in the paper (Methods)."""
    return np.where(labels == Structure.SHEET_TUBULE, np.uint8(Structure.SHEET), labels)
