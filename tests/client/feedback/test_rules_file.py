"""Rules come from TOML or YAML; whatever is mistyped is refused, and the message names it."""

import sys

import pytest

from dimstream_client.errors import ArgumentError
from dimstream_client.feedback import (
    Change,
    Fading,
    Limits,
    LowDose,
    Note,
    Pause,
    Rule,
    Saturated,
    Stop,
    Suspect,
    read_rules,
)

TOML = """
[limits]
actions = 20
exposure_ms = [5, 50.0]
"Laser/Power" = [0.5, 4]

[[rule]]
name = "too dark"
when = "low_dose"
photons = 0.3
frames = 4
then = "change"
what = "exposure_ms"
factor = 1.25
wait_frames = 5

[[rule]]
when = "suspect"
then = "pause"

[[rule]]
when = "fading"
minutes = 10
then = "note"

[[rule]]
when = "saturated"
then = "stop"
"""
YAML = """
limits: {actions: 20, exposure_ms: [5, 50.0], Laser/Power: [0.5, 4]}
rule:
  - {name: too dark, when: low_dose, photons: 0.3, frames: 4, then: change, what: exposure_ms, factor: 1.25,
     wait_frames: 5}
  - {when: suspect, then: pause}
  - {when: fading, minutes: 10, then: note}
  - {when: saturated, then: stop}
"""


@pytest.mark.parametrize(("name", "text"), [("r.toml", TOML), ("r.yaml", YAML), ("r.YML", YAML)])
def test_both_kinds_of_files_give_the_same_rules(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = read_rules(tmp_path / name)
    assert found.limits == Limits(20, {"exposure_ms": (5.0, 50.0), "Laser/Power": (0.5, 4.0)})
    assert found.rules == (
        Rule("too dark", LowDose(0.3, 4), Change("exposure_ms", factor=1.25), 5),
        Rule("2: suspect, pause", Suspect(3), Pause()),
        Rule("3: fading, note", Fading(10.0), Note()),
        Rule("4: saturated, stop", Saturated(), Stop()),
    )


ONE = '[[rule]]\nwhen = "suspect"\nthen = "note"\n'
LONGER = '[[rule]]\nwhen = "suspect"\nthen = "change"\nwhat = "exposure_ms"\n'
REFUSED = {
    "no TOML": ("[[rule", "expected TOML"),
    "no rules": ("[limits]\nactions = 1", "at least one"),
    "rules that are none": ('rule = "suspect"', "at least one"),
    "a table that is not known": (ONE + "[rules]\n", "only rule, limits, got 'rules'"),
    "a condition that is not known": (
        '[[rule]]\nwhen = "dim"\nthen = "note"',
        "rule 1: when: expected one of suspe",
    ),
    "no action": ('[[rule]]\nwhen = "suspect"', "rule 1: then: expected one of note"),
    "a key of another condition": (ONE + "photons = 1", "rule 1: expected only .*got 'photons'"),
    "a mistyped key": (ONE + "frame = 4", "got 'frame'"),
    "a key that is missing": ('[[rule]]\nwhen = "low_dose"\nthen = "note"', "photons, which low_dose needs"),
    "fading of nothing": ('[[rule]]\nwhen = "fading"\nthen = "note"', "rule 1: fading needs minutes or"),
    "no frames": (ONE + "frames = 0", "frames: expected at least 1"),
    "half a frame": (ONE + "frames = 1.5", "frames: expected an integer"),
    "true is no number": (ONE + "frames = true", "frames: expected an integer"),
    "text for a number": (
        '[[rule]]\nwhen = "moved"\npixels = "2"\nthen = "note"',
        "pixels: expected a finite number",
    ),
    "not a number": (
        '[[rule]]\nwhen = "moved"\npixels = nan\nthen = "note"',
        "pixels: expected a finite number",
    ),
    "below zero": (
        '[[rule]]\nwhen = "low_dose"\nphotons = -1\nthen = "note"',
        "photons: expected a number above",
    ),
    "no change": (LONGER, "a factor other than 1"),
    "no such thing": (
        LONGER.replace("exposure_ms", "exposure") + "factor = 2",
        "what: expected exposure_ms, or DEV",
    ),
    "limits without a number": (
        ONE + "[limits]\nexposure_ms = [1, 2]",
        "limits: expected a table with actions",
    ),
    "limits that are turned": (ONE + "[limits]\nactions = 1\nexposure_ms = [2, 1]", "the least first"),
    "a limit alone": (ONE + "[limits]\nactions = 1\nexposure_ms = 2", "least, largest"),
    "a limit that is not known": (ONE + "[limits]\nactions = 1\nexposure = [1, 2]", "got 'exposure'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_mistyped_is_refused_by_name(tmp_path, name):
    text, words = REFUSED[name]
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=words) as refused:
        read_rules(path)
    assert str(path) in str(refused.value)


FILES = {
    "of another kind": ("rules.json", b"{}", "ends in .toml"),
    "no text": ("rules.toml", b"\xff\xfe", "expected TOML"),
    "broken YAML": ("rules.yaml", b"rule: [", "expected YAML"),
    "YAML that makes objects": ("rules.yaml", b"rule: !!python/object/apply:os.getcwd []", "expected YAML"),
    "empty": ("rules.yaml", b"", "a table with rule, limits"),
    "much too long": ("rules.toml", b"#" * (1 << 20) + b"#", "at most"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_hold_no_rules_are_refused(tmp_path, name):
    file, content, words = FILES[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ArgumentError, match=words):
        read_rules(tmp_path / file)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be read: No such file"):
        read_rules(tmp_path / "rules.toml")


def test_yaml_without_its_package_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "rules.yaml").write_text(YAML)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ArgumentError, match=r'needs yaml: pip install "dimstream-client\[micromanager\]"'):
        read_rules(tmp_path / "rules.yaml")
