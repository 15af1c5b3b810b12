"""The table [recording]."""

from pathlib import Path

import pytest

from dimstream_server.settings import RecordingTable
from dimstream_server.settings_file import SettingsError, load_settings, make_settings


def test_streams_are_not_recorded_unless_a_folder_is_given(tmp_path: Path) -> None:
    assert RecordingTable().folder is None
    path = tmp_path / "dimstream.toml"
    path.write_text('[recording]\nfolder = "recordings"\nfsync = "frame"\n', encoding="utf-8")
    settings = load_settings(path, {})
    assert settings.recording.folder == tmp_path / "recordings"
    assert settings.recording.fsync == "frame"


def test_warning_comes_before_the_end() -> None:
    with pytest.raises(SettingsError, match="warn_bytes must be at least reserve_bytes"):
        make_settings({"recording": {"warn_bytes": 2**25, "reserve_bytes": 2**26}}, source="test")


def test_the_document_lists_the_table() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "server.md").read_text(encoding="utf-8")
    told = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `recording.")]
    assert {name.strip(" `"): value.strip(" `") for name, value in told} == {
        f"recording.{name}": "none" if value is None else str(value)
        for name, value in RecordingTable().model_dump().items()
    }
