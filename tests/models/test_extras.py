"""A package that is missing is named with the extra that installs it, as the metadata say."""

from importlib.metadata import PackageNotFoundError, distribution, requires
from importlib.util import find_spec

import pytest

from dimstream_models import extras
from dimstream_models.extras import install_hint

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
    assert absent <= {_plain(package) for package in packages if not _installed(_plain(package))}


def _plain(requirement: str) -> str:
    return requirement.strip().partition("[")[0].partition("<")[0].partition(">")[0].partition("=")[0]


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
