"""Keys and tokens in files that change while the server runs, and the command that makes them."""

import logging
import os
from pathlib import Path

import pytest

from dimstream_client.errors import KeyFileError
from dimstream_client.keys import PUBLIC, TOKEN, make_pair, make_token, read_only_entry, read_secret
from dimstream_server.cli import main
from dimstream_server.security.access import AllowedClients, read_access, warn_of_open_endpoints
from dimstream_server.settings import Settings
from dimstream_server.settings_file import load_settings, make_settings


def key_of(path: Path) -> str:
    return read_only_entry(path, PUBLIC).value


@pytest.fixture
def pubs(tmp_path: Path) -> dict[str, Path]:
    """Public keys of `a` and `b`, outside of the folder of those that are allowed."""
    return {name: make_pair(tmp_path / "made", name)[1] for name in "ab"}


def test_a_folder_is_followed(tmp_path: Path, pubs: dict[str, Path]) -> None:
    folder = tmp_path / "clients"
    folder.mkdir()
    clients = AllowedClients(folder)
    a, b = (key_of(pubs[name]) for name in "ab")
    assert len(clients) == 0
    assert not clients.look()
    kept = pubs["a"].rename(folder / "a.pub")
    (folder / "README").write_text("not a key")
    (folder / "dead.pub").symlink_to(tmp_path / "nowhere")
    assert clients.look()
    assert (clients.name_of(a), clients.name_of(b)) == ("a", None)
    text = pubs["b"].read_text()
    kept.write_text(text)  # another key in the same file, perhaps within the same tick of the clock
    os.utime(kept, ns=(1, 1))
    assert clients.look()
    assert (clients.name_of(a), clients.name_of(b)) == (None, "b")


def test_a_file_that_is_gone_for_a_moment_throws_nobody_out(tmp_path: Path, pubs: dict[str, Path]) -> None:
    clients = AllowedClients(pubs["a"])
    key = key_of(pubs["a"])
    away = pubs["a"].rename(tmp_path / "away")
    assert not clients.look()
    away.rename(pubs["a"])
    assert not clients.look()
    pubs["a"].unlink()
    assert not clients.look()
    assert clients.name_of(key) == "a"
    assert clients.look()
    assert clients.name_of(key) is None


def test_a_slip_of_the_pen_throws_nobody_out_and_is_told_once(
    tmp_path: Path, pubs: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    clients = AllowedClients(pubs["a"].parent)
    a, b = (key_of(pubs[name]) for name in "ab")
    pubs["a"].write_text("dimstream-public oops\n")
    pubs["b"].unlink()
    for _ in range(3):
        clients.look()
    assert clients.name_of(a) == "a"
    assert clients.name_of(b) is None  # other files are still followed
    assert caplog.text.count("event=bad_key_file") == 1
    assert a not in caplog.text
    pubs["a"].write_text("")
    assert clients.look()
    assert clients.name_of(a) is None


@pytest.mark.parametrize("content", [None, "dimstream-public oops\n"])
def test_the_start_is_refused_where_a_list_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "clients.pub"
    if content is not None:
        path.write_text(content)
    with pytest.raises(KeyFileError, match=r"clients\.pub"):
        AllowedClients(path)


def test_a_secret_that_others_can_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["keygen", str(tmp_path)]) == 0
    tables = {
        "server_secret_key": str(tmp_path / "server.key"),
        "allowed_clients": str(tmp_path / "clients"),
    }
    settings = make_settings({"zmq": tables}, source="test")
    assert read_access(settings).secret_key == read_secret(tmp_path / "server.key")[1]
    assert "chmod 600" not in caplog.text
    (tmp_path / "server.key").chmod(0o644)
    read_access(settings)
    assert "chmod 600" in caplog.text


def test_keygen_makes_what_the_settings_want(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "keys"
    assert main(["keygen", str(folder)]) == 0
    assert main(["keygen", str(folder), "--token", "script"]) == 0
    said = capsys.readouterr().out
    zmq = [line for line in said.splitlines() if line.startswith("zmq.")]
    http = [line for line in said.splitlines() if line.startswith("http.")]
    file = tmp_path / "dimstream.toml"
    file.write_text("\n".join([*zmq, *http]))
    access = read_access(load_settings(file, {("zmq", "endpoint"): "tcp://*:0"}))
    assert access.tokens is not None
    token = read_only_entry(folder / "tokens" / "script.token", TOKEN).value
    holder = access.tokens.holder_of(f"Bearer {token}".encode())
    assert holder is not None
    assert holder.name == "script"
    for secret in (token, read_secret(folder / "server.key")[1].decode()):
        assert secret not in said
        assert secret not in repr(access)
    assert main(["keygen", str(folder)]) == 2
    assert main(["keygen", str(folder), "--token", "../up"]) == 2
    assert not (folder / "up.token").exists()


def test_open_endpoints_are_told_in_every_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)  # of all that does not insist
    caplog.handler.setLevel(logging.NOTSET)
    warn_of_open_endpoints(Settings())
    assert not caplog.records
    warn_of_open_endpoints(
        make_settings({"server": {"insecure_lan": True}, "http": {"address": "0.0.0.0:0"}}, source="test")
    )
    (record,) = caplog.records
    assert (record.levelname, "event=insecure_lan" in record.getMessage()) == ("WARNING", True)


def test_tokens_of_a_file_are_followed_too(tmp_path: Path) -> None:
    paths = [make_token(tmp_path, name) for name in "ab"]
    both = tmp_path / "both.token"
    both.write_text("".join(path.read_text() for path in paths))
    settings = make_settings({"http": {"tokens": str(both)}}, source="test")
    tokens = read_access(settings).tokens
    assert tokens is not None
    assert len(tokens) == 2
    both.write_text(paths[1].read_text())
    assert tokens.look()
    assert tokens.holder_of(b"Bearer " + read_only_entry(paths[0], TOKEN).value.encode()) is None
