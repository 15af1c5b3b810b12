"""Files of keys and tokens: made for their owner alone, read with care, never said aloud."""

import os
import stat

import pytest
import zmq

from dimstream_client.cli import main
from dimstream_client.errors import KeyFileError
from dimstream_client.keys import (
    PUBLIC,
    SECRET,
    TOKEN,
    choose_curve_keys,
    make_pair,
    make_token,
    read_entries,
    read_only_entry,
    read_secret,
)

PUBLIC_LINE = "dimstream-public rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
SECRET_LINE = "dimstream-secret JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"  # of ZeroMQ's manual
TOKEN_LINE = f"dimstream-token {'x' * 43}"
BAD = {
    "empty": (PUBLIC, b"", "expected one line dimstream-public, got 0"),
    "two keys": (PUBLIC, f"{PUBLIC_LINE}\n{PUBLIC_LINE}\n".encode(), "expected one line"),
    "a secret where a public key belongs": (PUBLIC, SECRET_LINE.encode(), "got dimstream-secret"),
    "a public key where a secret belongs": (SECRET, PUBLIC_LINE.encode(), "got dimstream-public"),
    "no kind": (PUBLIC, PUBLIC_LINE.split()[1].encode(), "got another word"),
    "short": (PUBLIC, PUBLIC_LINE[:-1].encode(), "40 characters of Z85"),
    "kind alone": (TOKEN, b"dimstream-token", "43 or more characters of base64url"),
    "a short token": (TOKEN, TOKEN_LINE[:-1].encode(), "43 or more"),
    "a token with a comma": (TOKEN, (TOKEN_LINE + ",a").encode(), "43 or more"),
    "utf-16": (PUBLIC, PUBLIC_LINE.encode("utf-16"), "lines of ASCII"),
    "large": (TOKEN, b"#" * 1_000_001, "more than 1000000 bytes"),
}


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_pair_is_one_and_only_its_owner_reads_the_secret(tmp_path):
    secret_path, public_path = make_pair(tmp_path / "new" / "folder", "amira")
    public, secret = read_secret(secret_path)
    assert read_only_entry(public_path, PUBLIC) == (public.decode(), "amira")
    assert zmq.curve_public(secret) == public
    assert secret.decode() not in public_path.read_text()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_who_may_read_keys_does_not_hang_on_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        secret, public = make_pair(tmp_path / "new" / "folder", "amira")
        token = make_token(tmp_path / "tokens", "a")
    finally:
        os.umask(before)
    assert (mode_of(secret), mode_of(public), mode_of(token)) == (0o600, 0o644, 0o600)
    folders = [tmp_path / "new", tmp_path / "new" / "folder", tmp_path / "tokens"]
    assert {mode_of(folder) for folder in folders} == {0o700}


def test_a_folder_that_exists_keeps_its_mode(tmp_path):
    (tmp_path / "shared").mkdir(mode=0o755)
    (tmp_path / "shared").chmod(0o755)
    make_pair(tmp_path / "shared", "amira")
    assert mode_of(tmp_path / "shared") == 0o755


def test_tokens_are_long_and_never_the_same(tmp_path):
    paths = [make_token(tmp_path, name) for name in ("a", "b")]
    values = {read_only_entry(path, TOKEN).value for path in paths}
    assert len(values) == 2
    assert {len(value) for value in values} == {43}  # 256 bits
    assert {mode_of(path) for path in paths} == {0o600}


def test_nothing_is_overwritten(tmp_path):
    secret_path, public_path = make_pair(tmp_path, "amira")
    before = secret_path.read_bytes()
    with pytest.raises(KeyFileError, match="is not overwritten"):
        make_pair(tmp_path, "amira")
    public_path.unlink()
    with pytest.raises(KeyFileError, match="is not overwritten"):
        make_pair(tmp_path, "amira")
    assert secret_path.read_bytes() == before
    (tmp_path / "there.token").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="is not overwritten"):
        make_token(tmp_path, "there")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden", "a/b", "n" * 65, "né"])
def test_names_stay_in_their_folder(tmp_path, name):
    with pytest.raises(KeyFileError, match="expected a name of letters"):
        make_pair(tmp_path / "keys", name)
    assert not (tmp_path / "keys").exists()


def test_a_file_is_read_line_by_line(tmp_path):
    path = tmp_path / "clients.pub"
    path.write_text(f"# ours\n\n{PUBLIC_LINE} microscope 3\n  {PUBLIC_LINE}\n")
    key = PUBLIC_LINE.split()[1]
    assert read_entries(path, PUBLIC) == [(key, "microscope 3"), (key, "clients")]


@pytest.mark.parametrize(("kind", "content", "said"), BAD.values(), ids=BAD)
def test_what_is_no_such_file_is_refused_without_saying_what_it_holds(tmp_path, kind, content, said):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(KeyFileError) as caught:
        read_only_entry(path, kind)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    for secret in (SECRET_LINE.split()[1], "x" * 42, PUBLIC_LINE.split()[1][:-1]):
        assert secret not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(KeyFileError, match="cannot read"):
        read_secret(tmp_path / "none.key")


def test_both_keys_or_none(tmp_path):
    secret_path, public_path = make_pair(tmp_path, "amira")
    assert choose_curve_keys(server_key=None, key=None) is None
    for alone in ({"server_key": public_path, "key": None}, {"server_key": None, "key": secret_path}):
        with pytest.raises(KeyFileError, match="expected both server_key and key"):
            choose_curve_keys(**alone)
    keys = choose_curve_keys(server_key=public_path, key=secret_path)
    assert keys.server == keys.public
    assert keys.secret.decode() not in repr(keys)


def test_the_command_makes_a_pair_and_shows_no_secret(tmp_path, capsys):
    assert main(["keygen", str(tmp_path), "--name", "microscope-3"]) == 0
    said = capsys.readouterr().out
    _, secret = read_secret(tmp_path / "microscope-3.key")
    assert secret.decode() not in said
    assert str(tmp_path / "microscope-3.pub") in said
    assert main(["keygen", str(tmp_path), "--name", "microscope-3"]) == 3
    assert "is not overwritten" in capsys.readouterr().err
