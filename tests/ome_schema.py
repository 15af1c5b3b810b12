"""The schema that OME-XML must keep to, as OME publishes it (2016-06)."""

import functools
import importlib
from pathlib import Path
from typing import Any


def ome_types() -> Any:
    """Return the package; it takes a second to import, so it is not imported with the test files."""
    return importlib.import_module("ome_types")


@functools.cache
def ome_schema() -> Any:
    """Return the schema; it takes seconds to build, so it is built for the first test that asks."""
    xmlschema = importlib.import_module("xmlschema")
    return xmlschema.XMLSchema(Path(ome_types().__file__).with_name("ome-2016-06.xsd"))
