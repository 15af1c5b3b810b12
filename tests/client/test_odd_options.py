"""Whatever options are given with whatever file: a documented exit code, one line on stderr, no traceback."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_cases import make_cases

from dimstream_client.cli import main

CODES = {0, 1, 2, 3, 4}
ODD = [
    "",
    " ",
    "-",
    "nan",
    "inf",
    "-1",
    "0",
    "1e400",
    "x",
    "0.1,0.2",
    "0.1,",
    ",",
    "1,2,3",
    "9" * 30,
    "ü\n",
    "\0",
]
NUMBERS = st.one_of(st.sampled_from(ODD), st.floats(1e-3, 1e3).map(str), st.integers(-3, 99).map(str))
AXES = st.one_of(
    st.sampled_from(["TYX", "ZYX", "TZYX", "YX", "TPYX", "TT", *ODD]), st.text("TCZPYXQ", max_size=6)
)
OPTIONS = {
    "--series": st.one_of(st.sampled_from([*ODD, "STED", "Overview", "1", "-1"]), st.text(max_size=4)),
    "--axes": AXES,
    "--incomplete": st.none(),
    "--pixel-size": NUMBERS,
    "--z-step": NUMBERS,
    "--frame-interval": NUMBERS,
    "--split-every": NUMBERS,
    "--offset": NUMBERS,
    "--gain": NUMBERS,
    "--out-dtype": st.sampled_from(["uint16", "float32", "int8"]),
    "--overwrite": st.none(),
    "--maps": st.none(),
    "--resume": st.none(),
    "--mode": st.sampled_from(["lossless", "latest", "x"]),
    "--window": NUMBERS,
    "--interval": st.sampled_from(["0", "nan", "-1", "1e-3"]),
    "--model": st.sampled_from(["none", "", "echo"]),
}
OUTS = [
    "o.ome.tif",
    "o.TIF",
    "o.btf",
    "o.png",
    "o.npy",
    "o",
    "-",
    "",
    ".",
    "no/o.tif",
    "in",
    "x.tif",
    "junk.tif",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    make_cases(folder)
    (folder / "junk").mkdir()
    (folder / "junk" / "empty.tif").touch()
    (folder / "junk" / "text.tif").write_text("no image")
    np.save(folder / "junk" / "a.npy", np.ones((2, 8, 8), "uint16"))
    tifffile.imwrite(folder / "junk" / "colour.tif", np.ones((8, 8, 3), "uint8"), photometric="rgb")
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()), folder


@pytest.fixture
def one_peer(peer):
    return peer()


@pytest.mark.slow
@settings(
    max_examples=int(os.environ.get("DIMSTREAM_ODD_OPTIONS", "60")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_option_leads_to_a_traceback(files, one_peer, tmp_path, capfd, data):
    names, folder = files
    command = data.draw(st.sampled_from(["stream", "denoise"]))
    source = data.draw(st.sampled_from([*names, *{name.parent for name in names}, Path("none.tif"), Path()]))
    chosen = data.draw(st.lists(st.sampled_from(sorted(OPTIONS)), unique=True, max_size=4))
    options = [
        f"{name}={value}" if (value := data.draw(OPTIONS[name])) is not None else name for name in chosen
    ]
    here = tmp_path / "run"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    (here / "junk.tif").write_text("mine")
    out = data.draw(st.sampled_from(OUTS))
    server = data.draw(st.sampled_from(["peer", "peer", "peer", "http://127.0.0.1:9", "x", ""]))
    if server == "peer":
        server = one_peer.endpoint
    arguments = [command, str(folder / source), out and f"{here}/{out}", f"--server={server}"]
    try:
        code = main([*arguments, "--timeout=60", "--quiet", *options])
    except SystemExit as usage:
        code = usage.code
        assert code == 2
    said = capfd.readouterr().err
    assert code in CODES, said
    assert "Traceback" not in said
    assert (here / "junk.tif").read_bytes() == b"mine" or "--overwrite" in options
    assert not list(here.glob("*.resume.json")), "nothing that was told or done is left to be resumed"
