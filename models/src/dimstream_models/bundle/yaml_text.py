"""YAML from outside: plain data only, bounded in size, depth and expansion; and our own, byte for byte."""

from typing import Any

import yaml
from pydantic import JsonValue

from dimstream_models.bundle.errors import InvalidBundle

MAX_YAML_BYTES = 256 * 2**10
MAX_NODES = 50_000
"""With every alias written out: a few hundred bytes can stand for billions of nodes."""
MAX_NUMBER = 100
"""Characters of a number; one of many thousands takes its time, and cannot be printed again."""
TEXT_PER_NODE = 100
"""Characters of a text that count as one more value, since aliases repeat them as well."""
LINE_WIDTH = 100

NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
WRONG_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError)
"""What PyYAML raises for wrong text: its own errors and those of its constructors for ``!!bool maybe``."""


def parse(data: bytes, *, name: str) -> dict[str, Any]:
    """Mapping that the text holds.

    Raises
    ------
    InvalidBundle
        When it is no UTF-8, no YAML, no mapping, has a key twice, or expands beyond bounds.
    """
    try:
        loader = yaml.SafeLoader(data.decode("utf-8"))
        node = loader.get_single_node()
        if node is None or _expanded(node, {}) > MAX_NODES:
            raise InvalidBundle(f"{name} is empty, or stands for more than {MAX_NODES} values")
        value = loader.construct_document(node)
    except RecursionError as error:
        raise InvalidBundle(f"{name} is nested too deeply") from error
    except WRONG_YAML as error:
        raise InvalidBundle(f"{name} is no valid YAML in UTF-8: {error}") from error
    if not isinstance(value, dict):
        raise InvalidBundle(f"{name} must hold a mapping, it holds a {type(value).__name__}")
    return value


def dump(value: dict[str, JsonValue]) -> bytes:
    """Text of the mapping, keys in their order; the same mapping gives the same bytes."""
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=LINE_WIDTH)
    return text.encode("utf-8")


def _expanded(node: yaml.Node, seen: dict[int, int]) -> int:
    """Nodes under `node` with aliases written out; each is walked once."""
    if id(node) in seen:
        if not seen[id(node)]:
            raise ValueError("an alias stands inside the value that it names")
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
        raise ValueError(f"a number has {len(node.value)} characters, more than {MAX_NUMBER}")
    return 1 + len(node.value) // TEXT_PER_NODE


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError("a key is a list or a mapping; expected a text")
        if key.value in seen:
            raise ValueError(f"the key {key.value[:80]!r} stands twice in one mapping")
        seen.add(key.value)
