"""The schema that OME-XML must keep to, as OME publishes it (2016-06)."""

import functools
from pathlib import Path

import ome_types
import xmlschema


@functools.cache
def ome_schema() -> xmlschema.XMLSchema:
    """Return the schema; it takes seconds to build, so it is built for the first test that asks."""
    return xmlschema.XMLSchema(Path(ome_types.__file__).with_name("ome-2016-06.xsd"))
