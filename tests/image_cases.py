"""Files of the kinds that other programs write, made by `make_cases.py` of the shared data."""

import importlib.util
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

SHARED = Path(os.environ.get("DIMSTREAM_SHARED", Path(__file__).resolve().parents[2] / "shared"))
MAKER = SHARED / "cases" / "make_cases.py"


@cache
def make_cases(folder: Path) -> dict[str, dict[str, Any]]:
    """Write the cases into the folder, and return what a reader must make of each."""
    spec = importlib.util.spec_from_file_location("make_cases", MAKER)
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    maker.main(folder)
    return dict(json.loads((folder / "expected.json").read_text(encoding="utf-8")))
