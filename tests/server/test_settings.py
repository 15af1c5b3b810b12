"""Settings: unknown keys and public addresses are refused, the command line wins over the file."""

from pathlib import Path

import pytest

from dimstream_server.settings import Settings, SettingsError, load_settings, make_settings, split_address


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
    assert (settings.server.device, settings.zmq.window, settings.limits.max_streams) == ("cuda:1", 3, 2)


def test_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[server]\ndevice = "cuda:1"\n[zmq]\nwindow = 3\n')
    settings = load_settings(path, {("server", "device"): "cpu"})
    assert (settings.server.device, settings.zmq.window) == ("cpu", 3)


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
        ("[zmq\n", "not valid TOML"),
        ("a = " + "[" * 3000, "nested too deeply"),
        (f"[limits]\nmax_frame_bytes = {2**62}\n", "limits.max_frame_bytes"),
        (f"[limits]\nmax_frame_bytes = {2**31}\n", "max_credit_bytes must be at least 5 *"),
        (
            "[limits]\nmax_frame_bytes = 1024\nmax_plane_bytes = 4095\n",
            "max_plane_bytes must be at least 4 *",
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


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the settings file"):
        load_settings(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://0.0.0.0:5570", "tcp://*:5570", "tcp://192.168.1.4:5570", "tcp://[::]:5570", "tcp://eth0:5570"],
)
def test_zmq_beyond_loopback_is_refused(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="other machines"):
        make_settings({"zmq": {"endpoint": endpoint}}, source="test")


@pytest.mark.parametrize("address", ["0.0.0.0:8570", "192.168.1.4:8570", "[::]:8570", "example.org:80"])
def test_http_beyond_loopback_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="other machines"):
        make_settings({"http": {"address": address}}, source="test")


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


def test_the_document_lists_every_setting_with_its_default() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
    rows = [
        line.split("|") for line in text.splitlines() if line.startswith("| `") and "." in line.split("|")[1]
    ]
    told = {row[1].strip().strip("`"): row[2].strip().strip("`") for row in rows}
    known = {
        f"{table}.{key}": "none" if value in ((), None) else str(value)
        for table, keys in Settings().model_dump().items()
        for key, value in keys.items()
    }
    assert told == known
