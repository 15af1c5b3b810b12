"""`dimstream micromanager`: an acquisition by those who have no program of their own."""

import json
from pathlib import Path

import numpy as np
import pytest

from dimstream_client.cli import main

pytest.importorskip("pymmcore_plus")

RULES = """
[limits]
actions = 5
exposure_ms = [1.0, 4.0]

[[rule]]
name = "too dark"
when = "low_dose"
photons = 50
frames = 2
then = "change"
what = "exposure_ms"
factor = 2
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    movie = np.random.default_rng(0).poisson(5.0, (6, 16, 24)).astype(np.uint16)
    np.save("movie.npy", movie)
    return tmp_path


@pytest.fixture
def demo():
    """Configuration and adapters of the demo microscope."""
    from mm_test_adapters import device_adapter_path

    return [str(Path(device_adapter_path()) / "MMConfig_demo.cfg"), "--adapters", device_adapter_path()]


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_microscope_runs_a_plan_and_each_frame_has_its_line(folder, demo, peer, capsys):
    Path("plan.yaml").write_text(
        "time_plan: {interval: 0.02, loops: 4}\nchannels: [DAPI, {config: FITC, exposure: 2}]\n"
    )
    server = peer()
    command = [
        "micromanager",
        *demo,
        "--mda",
        "plan.yaml",
        "--exposure-ms",
        "1",
        "--spool",
        "spool",
        "--save",
    ]
    assert main([*command, "--server", server.endpoint, "--quiet", "--offset", "10", "--gain", "2"]) == 0
    assert "run 1: 8 frames, 8 ok; finished" in capsys.readouterr().out
    found = lines("micromanager.flags.jsonl")
    assert [one["event"] for one in found] == [{"c": c, "t": t} for t in range(4) for c in range(2)]
    assert [one["settings"]["exposure_ms"] for one in found[:2]] == [1.0, 2.0]
    assert {"flag", "reason", "seq", "index", "t_acq", "mean_photons", "t_ms"} <= found[0].keys()
    (opened,) = server.opened
    assert (opened.save, opened.offset, opened.gain, opened.channels) == (True, 10, 2, ("DAPI", "FITC"))
    assert not list(Path("spool").iterdir())


@pytest.mark.parametrize(
    ("mode", "exposures"), [("advise", {1.0}), ("rehearse", {1.0}), ("act", {1.0, 2.0, 4.0})]
)
def test_a_movie_takes_the_camera_s_place_and_rules_are_tried_on_it(folder, peer, mode, exposures):
    Path("rules.toml").write_text(RULES.replace("factor = 2", "factor = 2\nwait_frames = 2"))
    command = ["micromanager", "movie.npy", "--frames", "40", "--interval-s", "0.03", "--exposure-ms", "1"]
    command += ["--feedback", "rules.toml", "--feedback-mode", mode, "--flags", "run.flags.jsonl", "--quiet"]
    assert main([*command, "--server", peer().endpoint]) == 0
    assert {one["settings"]["exposure_ms"] for one in lines("run.flags.jsonl")} == exposures
    decisions = lines("run.decisions.jsonl")
    outcome = {"advise": "advised", "rehearse": "rehearsed", "act": "done"}[mode]
    assert decisions[0]["outcome"] == outcome
    assert "photons per pixel" in decisions[0]["reason"]


WRONG = {
    "no plan": (["movie.npy"], "say what to acquire: --mda PLAN, or --frames N"),
    "no such file": (["none.cfg", "--frames", "1"], "there is no file none.cfg"),
    "no configuration": (["bad.cfg", "--frames", "1"], "bad.cfg cannot be loaded"),
    "no camera": (["empty.cfg", "--frames", "1"], "has no camera"),
    "a mistyped plan": (["movie.npy", "--mda", "plan.yaml"], "not chanels"),
    "a plan that is none": (["movie.npy", "--mda", "bad.yaml"], "expected YAML"),
    "a plan of other things": (["movie.npy", "--mda", "list.yaml"], "expected only"),
    "no interval": (["movie.npy", "--mda", "time.yaml"], "is not a sequence of useq"),
    "a mistyped rule": (["movie.npy", "--frames", "1", "--feedback", "bad.toml"], "got 'dim'"),
    "no limits": (
        ["movie.npy", "--frames", "1", "--feedback", "free.toml", "--feedback-mode", "act"],
        "the mode act needs limits",
    ),
    "no rules": (["movie.npy", "--frames", "1", "--feedback-mode", "act"], "--feedback-mode act needs rules"),
    "flags that are there": (["movie.npy", "--frames", "1", "--flags", "plan.yaml"], "already exists"),
    "two gains": (
        ["movie.npy", "--frames", "1", "--gain", "2", "--gain-property", "A/B"],
        "not allowed with",
    ),
    "no property": (["movie.npy", "--frames", "1", "--gain-property", "Gain"], "DEVICE/PROPERTY"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_in_words_before_anything_is_acquired(folder, peer, capfd, name):
    words, said = WRONG[name]
    files = {
        "bad.cfg": "Device,Camera,NoSuchLibrary,DCam\n",
        "empty.cfg": "Property,Core,Initialize,1\n",
        "plan.yaml": "chanels: [DAPI]\n",
        "bad.yaml": "[",
        "list.yaml": "- 1\n",
        "time.yaml": "time_plan: {interval: soon, loops: 2}\n",
        "bad.toml": RULES.replace('"low_dose"', '"dim"'),
        "free.toml": RULES[RULES.index("[[rule]]") :],
    }
    for file, text in files.items():
        Path(file).write_text(text)
    server = peer()
    try:
        code = main(["micromanager", *words, "--server", server.endpoint])
    except SystemExit as ended:
        code = ended.code
    assert code in (2, 3)
    assert said in capfd.readouterr().err
    assert not server.opened


def test_frames_without_a_result_and_a_camera_that_fails_are_told_by_the_exit_code(
    folder, peer, capfd, monkeypatch
):
    command = ["micromanager", "movie.npy", "--frames", "4", "--quiet"]
    refusing = peer(refuse={1: ["not_finite"]})
    assert main([*command, "--flags", "a.jsonl", "--server", refusing.endpoint]) == 1
    assert "frames have no result" in capfd.readouterr().err

    def fail(*_):
        raise RuntimeError("the camera is unplugged")

    monkeypatch.setattr("pymmcore_plus.mda.MDAEngine.exec_event", fail)
    assert main([*command, "--flags", "b.jsonl", "--server", peer().endpoint]) == 1
    assert "the acquisition failed: the camera is unplugged" in capfd.readouterr().err
