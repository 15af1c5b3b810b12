"""The example Prometheus: its files are valid, alerts fire when they should, and ask for what there is."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.monitoring.readiness import Readiness

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
OPERATIONS = ROOT / "docs" / "operations.md"


def promtool(*words: str | Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not here: it comes with Prometheus (Debian's package `prometheus`)")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DOCKER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_configuration_is_valid() -> None:
    promtool("check", "config", "--syntax-only", DOCKER / "prometheus.yml")
    promtool("check", "rules", DOCKER / "alerts.yml")


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    promtool("test", "rules", Path(__file__).with_name("alerts_test.yml"))


def test_prometheus_reads_its_token_from_the_secret_and_asks_the_service() -> None:
    config = yaml.safe_load((DOCKER / "prometheus.yml").read_text(encoding="utf-8"))
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "dimstream"  # as alerts.yml names it
    (secret,) = compose["prometheus"]["secrets"]
    assert job["authorization"] == {"credentials_file": f"/run/secrets/{secret['target']}"}
    ((target,),) = [one["targets"] for one in job["static_configs"]]
    assert target.partition(":")[0] in compose
    mounted = {volume.split(":")[1] for volume in compose["prometheus"]["volumes"]}
    assert {f"/etc/prometheus/{name}" for name in ("prometheus.yml", *config["rule_files"])} <= mounted


def exposed() -> set[str]:
    """Names of all that the server exposes, of streams and checks too."""
    metrics, readiness = Metrics(), Readiness()
    readiness.add("device", lambda: None)
    metrics.add(readiness)
    metrics.watch_disk("state", lambda: 3e10)
    metrics.streams.open("s", "c", lambda: 0).received(0)
    metrics.streams.of("s").flagged("ok")
    metrics.streams.of("s").frames_left[0, 0, 0] = 12.0
    metrics.streams.of("s").analysed({"junctions": 3.0}, found_at=1.8e9)
    text = metrics.exposition().decode()
    return set(re.findall(r"^(dimstream_\w+?)(?:_created)?(?:\{| )", text, re.MULTILINE))


def test_alerts_ask_only_for_what_the_server_exposes_and_are_all_tested_and_explained() -> None:
    tested = (Path(__file__).with_name("alerts_test.yml")).read_text(encoding="utf-8")
    page = OPERATIONS.read_text(encoding="utf-8")
    for rule in rules():
        asked = set(re.findall(r"dimstream_\w+", rule["expr"]))
        assert asked <= exposed(), rule["alert"]
        assert tested.count(f"alertname: {rule['alert']}") >= 2, "once firing, once not"
        assert f"| `{rule['alert']}` |" in page


def test_the_page_lists_the_figures_of_streams() -> None:
    told = set(
        re.findall(r"^\| `(dimstream_stream_\w+)` \|", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE)
    )
    known = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for name in exposed()
        if name.startswith("dimstream_stream_")
    }
    assert told == known
