"""The client on Windows, judged from here: what its source asks of a system, and what that would refuse.

`make lint` checks its types for Windows, too, and so finds functions and constants that are missing there.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from windows_simulation import bad_name, refusing

import dimstream_client

pytestmark = pytest.mark.slow

SOURCES = Path(dimstream_client.__file__).parent
TESTS = Path(__file__).resolve().parents[1]

MODULES = {"crypt", "curses", "fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
# of os, signal, socket and select
NAMES = re.compile(
    r"fork\w*|wait(pid|id|3|4)|kill(pg)?|nice|mkfifo|mknod|chown|lchown|fchown|fchmod|lchmod|chroot|sync|fdatasync|"
    r"statvfs|fstatvfs|uname|getuid|geteuid|getgid|getegid|set[ug]id|setsid|getpgid|pread|pwrite|sendfile|writev|"
    r"sched_\w+|posix_\w+|sysconf|O_(NOFOLLOW|CLOEXEC|NONBLOCK|DIRECTORY|SYNC|DSYNC|DIRECT)|"
    r"SIG(KILL|HUP|USR1|USR2|ALRM|CHLD|STOP|CONT|QUIT|PIPE)|pause|alarm|setitimer|AF_UNIX|socketpair|e?poll|kqueue"
)
PLACES = re.compile(r"^(/tmp|/dev|/proc|/var|/etc|~/)|^ipc://")


def faults(source: str) -> list[str]:
    """What of a module's source does not work, or works otherwise, on Windows."""
    tree = ast.parse(source)
    elsewhere = {id(node) for branch in _not_on_windows(tree) for node in ast.walk(branch)}
    return [
        f"line {node.lineno}: {said}"
        for node in ast.walk(tree)
        if id(node) not in elsewhere and isinstance(node, (ast.expr, ast.stmt)) and (said := _fault(node))
    ]


def _not_on_windows(tree: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements under the `else` of `if sys.platform == "win32"`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "sys.platform == 'win32'":
            yield from node.orelse


def _fault(node: ast.expr | ast.stmt) -> str | None:
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
        )
        found = MODULES & {name.partition(".")[0] for name in names}
        return f"Windows has no {found.pop()}" if found else None
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and PLACES.search(node.value):
        return f"there is no {node.value!r} on Windows"
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id in {"os", "signal", "socket", "select"} and NAMES.fullmatch(node.attr):
            return f"Windows has no {node.value.id}.{node.attr}"
        return None
    return _fault_of_call(node) if isinstance(node, ast.Call) else None


def _fault_of_call(call: ast.Call) -> str | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {each.arg for each in call.keywords}
    if name == "rename":
        return "rename fails on Windows where the target exists: use replace"
    if name in {"read_text", "write_text"}:
        return (
            None if "encoding" in given or len(call.args) > (name == "write_text") else "no encoding is named"
        )
    if name not in {"open", "fdopen"} or ast.unparse(call.func).startswith(("client.", "self.", "os.open")):
        return None
    modes = [
        each.value for each in call.args[:2] if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]
    texts = [ast.unparse(each) for each in call.args]
    is_text = not any("b" in mode for mode in modes) and not any(".open_" in text for text in texts)
    if not is_text or not (modes or "encoding" in given or any("'w'" in text for text in texts)):
        return None
    if "encoding" not in given:
        return "no encoding is named, and that of Windows is another"
    is_written = any(letter in text for text in texts for letter in ("'w'", "'a'", "'x'"))
    return "lines would end by \\r\\n: say newline" if is_written and "newline" not in given else None


@pytest.mark.parametrize(
    "path", sorted(SOURCES.rglob("*.py")), ids=lambda path: path.relative_to(SOURCES).as_posix()
)
def test_nothing_of_the_client_needs_another_system_than_windows(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import fcntl",
        "from pwd import getpwuid",
        "os.fork()",
        "os.open(path, os.O_RDONLY | os.O_NOFOLLOW)",
        "os.kill(1, signal.SIGKILL)",
        "endpoint = 'ipc:///tmp/a'",
        "Path('/tmp/a')",
        "a.rename(b)",
        "path.read_text()",
        "path.write_text(text)",
        "open(path, 'w')",
        "open(path, 'w', encoding='utf-8')",
        "path.open('a' if more else 'w', encoding='utf-8')",
        "if sys.platform == 'win32':\n    import fcntl",
        "if sys.platform == 'linux':\n    import fcntl",
    ],
)
def test_the_scan_finds_what_it_is_for(line: str) -> None:
    assert len(faults(line)) >= 1


@pytest.mark.parametrize(
    "line",
    [
        "if sys.platform == 'win32':\n    import msvcrt\nelse:\n    import fcntl",
        "path.open('rb')",
        "path.open('w', encoding='utf-8', newline='\\n')",
        "os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)",
        "a.replace(b)",
    ],
)
def test_the_scan_leaves_alone_what_works(line: str) -> None:
    assert faults(line) == []


@pytest.mark.parametrize(
    ("name", "is_bad"),
    [
        ("a.tif", False),
        ("12:30.tif", True),
        ("nul.txt", True),
        ("COM1", True),
        ("a.", True),
        ("console", False),
    ],
)
def test_names_that_windows_does_not_take_are_known(name: str, is_bad: bool) -> None:
    assert bad_name(f"/folder/{name}") is is_bad


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="which files are open is asked of /proc")
@pytest.mark.slow
def test_spools_keys_commands_and_folders_work_under_what_windows_refuses() -> None:
    modules = (f"client/test_{name}.py" for name in ("spool", "keys", "cli"))
    files = ["client/folders", "client/watching", *modules]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "windows_simulation",
        "-p",
        "no:cacheprovider",
        *files,
    ]
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(
        command, cwd=TESTS, env=env, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_simulation_refuses_what_windows_does(tmp_path: Path) -> None:
    path, later = tmp_path / "a", tmp_path / "b"

    def by_the_client(line: str) -> None:
        exec(compile(line, str(SOURCES / "spool.py"), "exec"), {"path": path, "later": later})

    with refusing():
        with path.open("w", encoding="utf-8"):
            for line in ("path.unlink()", "path.replace(later)"):
                with pytest.raises(PermissionError, match="used by another process"):
                    by_the_client(line)
        with pytest.raises(OSError, match="label syntax"):
            by_the_client("later.with_name('12:30').touch()")
        by_the_client("path.replace(later)")
        by_the_client("later.unlink()")
    assert list(tmp_path.iterdir()) == []
