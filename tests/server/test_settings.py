"""Settings: unknown keys and open endpoints are refused, the command line wins over the file."""

from pathlib import Path
from typing import Any

import pytest

from dimstream_models.shipped import SHIPPED_MODEL, shipped_bundle
from dimstream_server.addresses import split_address
from dimstream_server.reloading import bundles_of
from dimstream_server.settings import Settings
from dimstream_server.settings_file import SettingsError, load_settings, make_settings


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "dimstream.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_bind_loopback_only() -> None:
    settings = load_settings(None, {})
    assert settings.zmq.endpoint == "tcp://127.0.0.1:5570"
    assert settings.http.address == "127.0.0.1:8570"


def test_file_says_all_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [server]
        bundles = ["a", "b.zip"]
        device = "cuda:1"
        ready_file = "ready.json"
        [zmq]
        endpoint = "tcp://127.0.0.1:0"
        window = 3
        [http]
        address = "[::1]:0"
        [limits]
        max_streams = 2
        """,
    )
    settings = load_settings(path, {})
    assert settings.server.bundles == (tmp_path / "a", tmp_path / "b.zip")
    assert settings.server.ready_file == tmp_path / "ready.json"
    assert (settings.server.device, settings.zmq.window, settings.limits.max_streams) == (("cuda:1",), 3, 2)


def test_a_bundle_that_ships_is_served_by_its_name_unless_a_path_has_it(tmp_path: Path) -> None:
    path = write(tmp_path, f'[server]\nbundles = ["{SHIPPED_MODEL}", "other"]\n')
    assert bundles_of(load_settings(path, {})) == (shipped_bundle(), tmp_path / "other")
    named = load_settings(None, {("server", "bundles"): [SHIPPED_MODEL]})
    assert bundles_of(named) == (shipped_bundle(),)
    (tmp_path / SHIPPED_MODEL).mkdir()
    assert bundles_of(load_settings(path, {}))[0] == tmp_path / SHIPPED_MODEL


def test_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[server]\ndevice = "cuda:1"\n[zmq]\nwindow = 3\n')
    settings = load_settings(path, {("server", "device"): "cpu"})
    assert (settings.server.device, settings.zmq.window) == (("cpu",), 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[zmq]\nendpont = 'tcp://127.0.0.1:1'\n", "did you mean 'zmq.endpoint'?"),
        ("[zqm]\nwindow = 3\n", "did you mean 'zmq'?"),
        ("[zmq]\nmax_streams = 3\n", "did you mean 'limits.max_streams'?"),
        ("[http]\nxyzzy = 3\n", "known here: address"),
        ("[zmq]\nwindow = 0\n", "zmq.window"),
        ("[zmq]\nwindow = 70\n", "larger than max_window"),
        ("[server]\ndevice = 'gpu'\n", "server.device"),
        ("[server]\ndevice = ['cpu', 'gpu']\n", "server.device"),
        ("[server]\ndevice = []\n", "server.device"),
        ("[zmq\n", "not valid TOML"),
        ("[alerts]\nsuspect_frame = 3\n", "did you mean 'alerts.suspect_frames'?"),
        ("[alerts]\nsuspect_frames = 0\n", "alerts.suspect_frames"),
        *[
            (f"[alerts]\nwebhook_url = '{url}'\n", "begins with https:// or http:// and names a host")
            for url in (
                "hooks.example.org/x",
                "ftp://example.org",
                "https://",
                "https://a b/c",
                "https://[::1",
            )
        ],
        ("a = " + "[" * 3000, "nested too deeply"),
        (f"[limits]\nmax_frame_bytes = {2**62}\n", "limits.max_frame_bytes"),
        (f"[limits]\nmax_frame_bytes = {2**31}\n", "max_credit_bytes must be at least 5 *"),
        (
            "[limits]\nmax_frame_bytes = 1024\nmax_plane_bytes = 6143\n",
            "max_plane_bytes must be at least 6 *",
        ),
    ],
)
def test_bad_file_is_refused_in_one_line_that_names_the_key(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_address_of_a_web_hook_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, "[alerts]\nwebhook_url = 'htps://example.org/s3cr3t'\n"), {})
    assert "s3cr3t" not in str(caught.value)
    settings = make_settings({"alerts": {"webhook_url": "https://example.org/s3cr3t"}}, source="test")
    assert "s3cr3t" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the settings file"):
        load_settings(tmp_path / "none.toml", {})


PUBLIC_ENDPOINTS = [
    "tcp://0.0.0.0:5570",
    "tcp://*:5570",
    "tcp://192.168.1.4:5570",
    "tcp://[::]:5570",
    "tcp://eth0:5570",
]
PUBLIC_ADDRESSES = ["0.0.0.0:8570", "192.168.1.4:8570", "[::]:8570", "example.org:80"]
KEYS = {"server_secret_key": "server.key", "allowed_clients": "clients"}


@pytest.mark.parametrize("endpoint", PUBLIC_ENDPOINTS)
def test_zmq_beyond_loopback_needs_keys(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="other machines, got no keys"):
        make_settings({"zmq": {"endpoint": endpoint}, "http": {"tokens": "tokens"}}, source="test")
    locked = make_settings({"zmq": {"endpoint": endpoint, **KEYS}}, source="test")
    assert locked.zmq.allowed_clients == Path("clients")


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_http_beyond_loopback_needs_tokens(address: str) -> None:
    with pytest.raises(SettingsError, match="other machines, got no tokens"):
        make_settings({"http": {"address": address}, "zmq": KEYS}, source="test")
    locked = make_settings({"http": {"address": address, "tokens": "tokens"}}, source="test")
    assert locked.http.tokens == Path("tokens")


@pytest.mark.parametrize(
    "tables",
    [{"zmq": {"endpoint": "tcp://*:5570"}}, {"http": {"address": "0.0.0.0:8570"}}],
    ids=["zmq", "http"],
)
def test_open_endpoints_beyond_loopback_must_be_asked_for(tables: dict[str, Any]) -> None:
    assert make_settings({"server": {"insecure_lan": True}, **tables}, source="test").server.insecure_lan


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({}, "got loopback addresses that none can reach"),
        ({"zmq": {"endpoint": "tcp://*:5570", **KEYS}}, "but got zmq.server_secret_key that protect it"),
        ({"http": {"address": "0.0.0.0:80", "tokens": "t"}}, "but got http.tokens that protect it"),
    ],
)
def test_insecure_lan_that_contradicts_the_rest_is_refused(tables: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        make_settings({"server": {"insecure_lan": True}, **tables}, source="test")


@pytest.mark.parametrize("key", KEYS)
def test_keys_without_an_allow_list_and_the_other_way_round_are_refused(key: str) -> None:
    with pytest.raises(SettingsError, match="expected both server_secret_key and allowed_clients"):
        make_settings({"zmq": {key: KEYS[key]}}, source="test")


def test_locks_in_the_file_open_an_address_on_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, "[zmq]\nserver_secret_key = 'server.key'\nallowed_clients = 'clients'\n")
    settings = load_settings(path, {("zmq", "endpoint"): "tcp://*:5570"})
    assert settings.zmq.server_secret_key == tmp_path / "server.key"
    path = write(tmp_path, "[zmq]\nendpoint = 'tcp://*:5570'\n")
    with pytest.raises(SettingsError, match="got no keys"):
        load_settings(path, {})
    settings = load_settings(path, {("zmq", key): value for key, value in KEYS.items()})
    assert settings.zmq.server_secret_key == Path("server.key")


@pytest.mark.parametrize(
    ("endpoint", "bound"),
    [
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:0"),
        ("tcp://localhost:7", "tcp://127.0.0.1:7"),
        ("tcp://[::1]:7", "tcp://[::1]:7"),
        ("ipc:///tmp/dimstream.sock", "ipc:///tmp/dimstream.sock"),
    ],
)
def test_loopback_endpoints_are_taken(endpoint: str, bound: str) -> None:
    assert make_settings({"zmq": {"endpoint": endpoint}}, source="test").zmq.endpoint == bound


@pytest.mark.parametrize("address", ["8570", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "::1:80", "h:-1"])
def test_address_without_a_port_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        split_address(address)


def _told(value: object) -> str:
    """A default as the document says it: nothing, or one entry of a list, without brackets."""
    if value in ((), None):
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_the_document_lists_every_setting_with_its_default() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
    rows = [
        line.split("|") for line in text.splitlines() if line.startswith("| `") and "." in line.split("|")[1]
    ]
    told = {row[1].strip().strip("`"): row[2].strip().strip("`") for row in rows}
    known = {
        f"{table}.{key}": _told(value)
        for table, keys in Settings().model_dump().items()
        for key, value in keys.items()
    }
    assert told == known
