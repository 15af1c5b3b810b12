"""YAML: reading from outside (plain data only; size, depth and expansion are bounded), and exact writing."""

from typing import Any

import yaml
from pydantic import JsonValue

from dimstream_models.bundle.errors import InvalidBundle

MAX_YAML_BYTES = 256 * 2**10
MAX_NODES = 50_000
"""Most nodes with all aliases expanded: a few hundred bytes can stand for billions of nodes."""
MAX_NUMBER = 100
"""Most characters of a number; one with thousands of digits is slow, and cannot be printed."""
TEXT_PER_NODE = 100
"""This many characters of a text count as one more value, because aliases repeat them too."""
LINE_WIDTH = 100

NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
WRONG_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError)
"""Errors that PyYAML raises for wrong text: its own, and those of its constructors, e.g. for ``!!bool
maybe``."""


def parse(data: bytes, *, name: str) -> dict[str, Any]:
    """Return the mapping in the text.

    Raises
    ------
    InvalidBundle
        When it is not UTF-8, not YAML or not a mapping, has a key twice, or expands beyond the bounds.
    """
    try:
        loader = yaml.SafeLoader(data.decode("utf-8"))
        node = loader.get_single_node()
        if node is None or _expanded(node, {}) > MAX_NODES:
            raise InvalidBundle(f"{name} is empty, or expands to more than {MAX_NODES} values")
        value = loader.construct_document(node)
    except RecursionError as error:
        raise InvalidBundle(f"{name} is nested too deeply") from error
    except WRONG_YAML as error:
        raise InvalidBundle(f"{name} is not valid YAML in UTF-8: {error}") from error
    if not isinstance(value, dict):
        raise InvalidBundle(f"{name} must hold a mapping, it holds a {type(value).__name__}")
    return value


def dump(value: dict[str, JsonValue]) -> bytes:
    """Return the mapping as text, with keys in their order; the same mapping gives the same bytes."""
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=LINE_WIDTH)
    return text.encode("utf-8")


def _expanded(node: yaml.Node, seen: dict[int, int]) -> int:
    """Return the number of nodes under `node` with aliases expanded; each node is visited once."""
    if id(node) in seen:
        if not seen[id(node)]:
            raise ValueError("an alias is inside the value to which it refers")
        return seen[id(node)]
    seen[id(node)] = 0  # being walked
    own, children = 1, list[yaml.Node]()
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated_keys(node)
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.ScalarNode):
        own = _weight(node)
    seen[id(node)] = own + sum(_expanded(child, seen) for child in children)
    return seen[id(node)]


def _weight(node: yaml.ScalarNode) -> int:
    if node.tag in NUMBERS and len(node.value) > MAX_NUMBER:
        raise ValueError(f"a number has {len(node.value)} characters, expected at most {MAX_NUMBER}")
    return 1 + len(node.value) // TEXT_PER_NODE


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError("a key is a list or a mapping; expected text")
        if key.value in seen:
            raise ValueError(f"the key {key.value[:80]!r} appears twice in one mapping")
        seen.add(key.value)
