"""Where the bundle that ships lies."""

from pathlib import Path

MODEL = "er-sted-light"
BUNDLE = Path(__file__).resolve().parents[1] / "models" / "bundles" / MODEL
