"""How many public functions with arrays say in their docstrings what the arrays hold, by package.

python tests/docstrings.py [PACKAGE ...] lists those that do not.
"""

import ast
import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRAINING = "models/src/dimstream_models/training"
PACKAGES = {
    "client": "client/src/dimstream_client",
    "server": "server/src/dimstream_server",
    "models": "models/src/dimstream_models",
    "training": TRAINING,
}

_NUMBERS = re.compile(r"\b(?:NDArray|ArrayLike|ndarray|torch\.Tensor)\b(?!\[np\.str_\])")
_TERM = r"(?:\w+|\.{3})"
_SIDE = rf"{_TERM}(?:\s*(?://|[-+*/])\s*{_TERM})*"
_BRACKET = re.compile(rf"\(\s*({_SIDE}(?:\s*,\s*{_SIDE})*\s*,?)\s*\)")
_SHORT = re.compile(r"(?<!\w)(?:\.{3}|[A-Za-z]|\d+)(?!\w)")


@dataclass(frozen=True)
class Documented:
    """A public function with arrays, and whether its docstring gives a shape."""

    path: Path
    line: int
    name: str
    has_shape: bool


def gives_shape(text: str) -> bool:
    """Return whether a text holds a shape: ``(H, W)``, ``(N,)``, ``(B, 1, ...)``; not ``(noisy, truth)``."""
    return any("," in found and _SHORT.search(found) for found in _BRACKET.findall(text))


def functions_with_arrays(package: str) -> list[Documented]:
    """Return the public functions and methods of a package that take or return arrays."""
    folder = ROOT / PACKAGES[package]
    found: list[Documented] = []
    for path in sorted(folder.rglob("*.py")):
        if package == "models" and path.is_relative_to(ROOT / TRAINING):
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        array = _arrays_in(body)
        found += (
            Documented(path, node.lineno, name, gives_shape(text))
            for node, name, text in _public(body, "", "")
            if array.search(_annotations(node))
        )
    return found


@functools.cache
def _aliases() -> dict[str, frozenset[str]]:
    """Return names that stand for arrays (``Floats = NDArray[np.float64]``) by their module."""
    found = {}
    for folder in ("client", "models", "server"):
        source = ROOT / folder / "src"
        for path in source.rglob("*.py"):
            module = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
            found[module] = frozenset(_defined(ast.parse(path.read_text(encoding="utf-8")).body))
    return found


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=ast.Subscript() as value):
                pass
            case ast.AnnAssign(target=ast.Name(name), value=ast.Subscript() as value):
                pass
            case _:
                continue
        if _NUMBERS.search(text := ast.unparse(value)) and not text.startswith("Callable"):
            yield name


def _arrays_in(body: list[ast.stmt]) -> re.Pattern[str]:
    """Return what finds arrays in the annotations of a module."""
    names = set(_defined(body))
    for node in body:
        if isinstance(node, ast.ImportFrom):
            known = {"Tensor"} if node.module == "torch" else _aliases().get(node.module or "", frozenset())
            names |= {each.name for each in node.names} & known
    return re.compile("|".join([_NUMBERS.pattern, *(rf"\b{name}\b" for name in sorted(names))]))


def _public(
    body: list[ast.stmt], prefix: str, of_class: str
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str, str]]:
    """Yield each public function, its name, and the docstring that tells of it."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public(node.body, f"{prefix}{node.name}.", ast.get_docstring(node) or "")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name == "__init__":
                yield node, f"{prefix}__init__", of_class  # numpydoc: parameters stand in the class's
            elif not node.name.startswith("_"):
                yield node, prefix + node.name, ast.get_docstring(node) or ""


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = node.args
    every = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    given = [argument.annotation for argument in every if argument is not None]
    return " ".join(ast.unparse(one) for one in (*given, node.returns) if one is not None)


def share(found: list[Documented]) -> float:
    """Return the share of them that give a shape, 0 to 1."""
    return sum(one.has_shape for one in found) / len(found)


def main(argv: list[str]) -> None:
    """Print the shares, and what is missing."""
    for package in argv or PACKAGES:
        found = functions_with_arrays(package)
        print(f"{package}: {100 * share(found):.0f} % of {len(found)}")
        for one in found:
            if argv and not one.has_shape:
                print(f"  {one.path.relative_to(ROOT)}:{one.line} {one.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
