"""The bundle that ships, under a short name."""

from dimstream_models.shipped import SHIPPED_MODEL as MODEL
from dimstream_models.shipped import shipped_bundle

__all__ = ["BUNDLE", "MODEL"]

BUNDLE = shipped_bundle()
