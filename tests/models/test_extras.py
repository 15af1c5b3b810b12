"""A package that is missing is named with the extra that installs it, as the metadata say."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, requires
from importlib.util import find_spec
from pathlib import Path

import pytest

from dimstream_models import extras
from dimstream_models.extras import install_hint

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("docs", "client", "models", "server", "docker")
DISTRIBUTIONS = ("dimstream-client", "dimstream-models", "dimstream-server")


def missing(module: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named {module!r}", name=module)


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        ("torch", "dimstream-models", 'pip install "dimstream-models[train]"'),
        ("sklearn.metrics", "dimstream-models", 'needs sklearn, which is not installed: pip install "dimst'),
        ("ray", "dimstream-models", 'pip install "dimstream-models[ray]"'),
        ("onnxruntime", "dimstream-server", '[cpu]" or pip install "dimstream-server[gpu]" or pip'),
        ("openvino", "dimstream-server", 'pip install "dimstream-server[openvino]"'),
        ("matplotlib.pyplot", "dimstream-server", 'pip install "dimstream-server[demo]"'),
        ("fastapi", "dimstream-server", "although dimstream-server needs it; install dimstream-server again"),
        ("anything", "no-such-distribution", "install no-such-distribution again"),
    ],
)
def test_the_sentence_names_what_to_install(module: str, name: str, said: str) -> None:
    assert said in install_hint(missing(module), name)


def test_a_module_of_our_own_that_is_missing_is_a_fault_and_not_an_extra() -> None:
    error = missing("dimstream_models.mistyped")
    with pytest.raises(ModuleNotFoundError) as caught:
        install_hint(error, "dimstream-models")
    assert caught.value is error


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_package_of_an_extra_is_imported_by_the_name_that_is_looked_for(name: str) -> None:
    known = extras._extras(name)
    assert len(known) == sum("extra ==" in line for line in requires(name) or [])
    packages = {line.split(";")[0] for line in requires(name) or [] if "extra ==" in line}
    absent = {imported for _, imported in known if find_spec(imported) is None}
    missing = {_plain(package) for package in packages if not _installed(_plain(package))}
    assert absent <= {name.replace("-", "_") for name in missing}


NAMED = re.compile(r"dimstream[-_](client|models|server)(?:[-\w.*]*?)(?:\)?)\[([\w,-]+)\]")


def test_every_extra_that_a_page_or_a_message_names_exists() -> None:
    files = [path for folder in PLACES for kind in ("*.md", "*.py") for path in (ROOT / folder).rglob(kind)]
    named = [
        (path.name, f"dimstream-{match[1]}", extra)
        for path in (*files, *ROOT.glob("*.md"))
        for match in NAMED.finditer(path.read_text(encoding="utf-8"))
        for extra in match[2].split(",")
    ]
    assert len(named) > 20
    known = {
        name: set(tomllib.loads(page.read_text(encoding="utf-8"))["project"]["optional-dependencies"])
        for name in DISTRIBUTIONS
        if (page := ROOT / name.partition("-")[2] / "pyproject.toml")
    }
    assert [one for one in named if one[2] not in known[one[1]]] == []


def _plain(requirement: str) -> str:
    return requirement.strip().partition("[")[0].partition("<")[0].partition(">")[0].partition("=")[0]


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
