"""What the system says of the memory that this process may have."""

from pathlib import Path

import pytest

from dimstream_server.memory_limit import memory_limit
from dimstream_server.server_parts import NETWORK_SHARE, engine_limits
from dimstream_server.settings_file import make_settings

MEBI = 2**20
CASES = {
    "a container of version 2": ({"memory.max": f"{64 * MEBI}\n"}, "0::/\n", 64 * MEBI),
    "a service": ({"system.slice/x.service/memory.max": f"{MEBI}"}, "0::/system.slice/x.service\n", MEBI),
    "a slice above a service": (
        {"system.slice/memory.max": f"{MEBI}", "system.slice/x.service/memory.max": "max\n"},
        "0::/system.slice/x.service\n",
        MEBI,
    ),
    "a container of version 1": (
        {"memory/docker/ab/memory.limit_in_bytes": f"{MEBI}"},
        "12:cpu:/docker/ab\n4:memory:/docker/ab\n",
        MEBI,
    ),
    "another's group": ({"other/memory.max": "7"}, "0::/mine\n", None),
    "a path that leads out": ({"memory.max": "max"}, "0::/../../etc\n", None),
    "nonsense": ({"memory.max": "much\xff"}, "0::/\n", None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_least_limit_of_all_control_groups_holds(tmp_path: Path, case: str) -> None:
    files, own, expected = CASES[case]
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="latin-1")
    (tmp_path / "own").write_text(own)
    machine = memory_limit(tmp_path / "none", tmp_path / "none")
    assert machine is not None
    assert memory_limit(tmp_path / "groups", tmp_path / "own") == (expected or machine)


def test_devices_share_what_is_there() -> None:
    def network_bytes(**tables: dict[str, object]) -> int | None:
        return engine_limits(make_settings(tables, source="test")).network_bytes

    limit = memory_limit()
    assert limit is not None
    assert network_bytes() == int(NETWORK_SHARE * limit)
    assert network_bytes(server={"device": ["cpu", "cpu"]}) == int(NETWORK_SHARE * limit / 2)
    assert network_bytes(server={"device": ["cuda:0"]}) is None
    assert network_bytes(server={"device": ["cuda:0"]}, limits={"max_network_bytes": 2**30}) == 2**30
