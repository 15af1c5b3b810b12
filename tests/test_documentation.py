"""The pages that people read: links lead somewhere, and commands exist with the options that are shown."""

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import pytest

from dimstream_client.cli import main as client
from dimstream_models.analysis.cli import main as analyse
from dimstream_models.training.cli import main as train
from dimstream_server.cli import main as server
from dimstream_server.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("", "docs", "docs/decisions", "client", "models", "server", "models/src/dimstream_models/shipped")
PAGES = sorted(
    page
    for folder in FOLDERS
    for page in (ROOT / folder).glob("*/README.md" if folder.endswith("shipped") else "*.md")
)
PROGRAMS: dict[str, Callable[[list[str]], int]] = {
    "dimstream": client,
    "dimstream-server": server,
    "dimstream-train": train,
    "dimstream-analyse": analyse,
}
FENCE = re.compile(r"^( *)```([\w ]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
names = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for indent, language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield "\n".join(line.removeprefix(indent) for line in text.splitlines())


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each)) for each in headings)
    return {each.strip().lower().replace(" ", "-") for each in plain}


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command of ours on the page, as a shell would take them."""
    for block in blocks(page, "", "sh", "bat"):
        for line in block.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line, comments=True)
            except ValueError:  # a listing, or half a quotation
                continue
            if words and words[0] == "$":  # a prompt
                words = words[1:]
            if words and (name := words[0].rpartition("/")[2]) in (*PROGRAMS, "make"):
                yield [name, *words[1:]]


@lru_cache
def help_of(program: str, subcommand: str) -> str:
    """What a command prints when it is asked for help; nothing where there is no such command."""
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "argparse.ArgumentParser._print_message", lambda _, text, file=None: printed.append(text)
        )
        with pytest.raises(SystemExit) as ended:
            PROGRAMS[program]([subcommand, "--help"])
    return "".join(printed) if ended.value.code == 0 else ""


def options(program: str, subcommand: str) -> set[str]:
    """The options that the help of a command lists; empty where there is no such command."""
    return set(re.findall(r"--?[a-z][\w-]*", help_of(program, subcommand)))


@names
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no {target}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: no such heading; there are {sorted(anchors(target))}"


@names
def test_commands_and_their_options_exist(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for program, *words in commands(page):
        if program == "make":
            assert {word for word in words if re.fullmatch("[a-z-]+", word)} <= targets, words
        elif words and words[0] not in ("--version", "--help", "COMMAND"):
            known = options(program, words[0])
            assert known, f"{program} has no command {words[0]}"
            shown = {word.partition("=")[0].strip("[]()") for word in words if re.match(r"\[?--\w", word)}
            assert shown <= known, f"{program} {words[0]} has no {sorted(shown - known)}"


MODULES = sorted(
    path for top in ("client", "models", "server") for path in (ROOT / top / "src").rglob("*.py")
)
INSIDE = {part for path in MODULES for part in path.parent.parts[len(ROOT.parts) + 2 :]}
"""Names of all packages of ours."""


@names
def test_files_and_modules_that_are_named_exist(page: Path) -> None:
    known = [path.as_posix() for path in MODULES]
    for named in re.findall(r"`(\w+(?:[./]\w+)+)`", prose(page)):
        first = re.split(r"[./]", named)[0]
        if "/" in named and first in INSIDE:
            ends = [named.removesuffix(".py")]
        elif first in ("dimstream_client", "dimstream_models", "dimstream_server"):
            path = named.replace(".", "/")
            ends = [end for up in range(3) if "/" in (end := path.rsplit("/", up)[0])]  # or what is in it
        else:
            continue
        assert [one for one in known for end in ends if f"/{end}.py" in one or f"/{end}/" in one], (
            f"there is no {named}"
        )


@names
def test_settings_that_are_named_exist(page: Path) -> None:
    ends_of_files = ("client", "json", "key", "pub", "toml", "yml")
    for table, key in re.findall(r"`([a-z]+)\.([a-z_]+)`", prose(page)):
        if table in Settings.model_fields and key not in ends_of_files and page.name != "CHANGELOG.md":
            assert hasattr(getattr(Settings(), table), key), f"there is no {table}.{key}"


@names
def test_snippets_are_python(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(block)


def test_something_was_checked() -> None:
    assert len(PAGES) > 25
    assert {ROOT / "README.md", ROOT / "docs" / "index.md", ROOT / "client" / "README.md"} <= set(PAGES)
    assert len([command for page in PAGES for command in commands(page)]) > 80


def test_every_page_is_in_the_index() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall((ROOT / "docs" / "index.md").read_text())}
    assert {page.name for page in PAGES if page.parent.name == "docs"} - linked == {"index.md"}


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {version('dimstream-client')}\n" in (ROOT / "CITATION.cff").read_text()


# Words of ours that a stranger cannot know; what the field calls it stands behind each.
PRIVATE = {
    r"doors?": "endpoint",
    r"anew": "again",
    r"mend(s|ed|ing)?": "correct, repair",
    r"vouch\w*|testif\w*|testimon\w*": "confirm",
    r"ledgers?": "registry, quota",
    r"witness(es|ed)?": "split-photon check (`split` in code and options)",
}


def private_words(text: str) -> list[str]:
    """Words of ours in a text, but for code, names of options and of fields."""
    plain = re.sub(r"`[^`]*`|\([^)\s]*\)", "", text)
    pattern = r"(?<![\w.-])(" + "|".join(f"(?:{word})" for word in PRIVATE) + r")(?![\w-])"
    return [found.group() for found in re.finditer(pattern, plain, re.IGNORECASE)]


@names
def test_pages_use_words_that_everybody_knows(page: Path) -> None:
    assert not private_words(prose(page)), PRIVATE


@pytest.mark.parametrize(
    ("program", "subcommand"),
    [("dimstream", name) for name in ("stream", "denoise", "watch", "view", "models", "ping", "keygen")]
    + [("dimstream-server", name) for name in ("serve", "demo", "bench", "keygen", "recover")]
    + [("dimstream-train", name) for name in ("simulate", "prepare", "init", "fit", "search", "importance")]
    + [
        ("dimstream-train", name)
        for name in ("calibrate", "export", "adapt", "adapt-live", "evaluate", "compare", "audit")
    ],
)
def test_help_uses_words_that_everybody_knows(program: str, subcommand: str) -> None:
    assert not private_words(help_of(program, subcommand)), PRIVATE


def test_private_words_are_found() -> None:
    assert private_words("the HTTP door, and Witnesses anew") == ["door", "Witnesses", "anew"]
    assert private_words("`witness`, --witness-every N, witness_every, [x](door.md), indoors") == []
