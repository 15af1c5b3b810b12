"""What installs for development hands pip's settings on to uv."""

import importlib.util
from pathlib import Path

PATH = Path(__file__).parents[1] / ".ci" / "install.py"
LISTED = """\
:env:.disable-pip-version-check='1'
:env:.find-links='/opt/wheels'
global.constraint='/etc/pip/constraints.txt'
global.extra-index-url='file:///opt/one file:///opt/two'
global.find-links='/opt/wheels'
global.index-url='https://pypi.example/simple'
"""


def test_settings_of_pip_become_options_of_uv() -> None:
    spec = importlib.util.spec_from_file_location("install", PATH)
    assert spec is not None
    assert spec.loader is not None
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    strategy = ["--index-strategy", "unsafe-best-match"]
    assert install.options_of("") == strategy
    assert install.options_of(LISTED) == [
        *strategy,
        *("--find-links", "/opt/wheels"),
        *("--constraint", "/etc/pip/constraints.txt"),
        *("--index", "file:///opt/one", "--index", "file:///opt/two"),
        *("--default-index", "https://pypi.example/simple"),
    ]
