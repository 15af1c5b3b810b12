"""The simulation behind `dimstream-server plan`, next to what queueing theory says."""

import pytest

from dimstream_server.benchmarks.planning import Load, most_microscopes, simulate
from dimstream_server.cli import main


def test_one_microscope_waits_for_nobody() -> None:
    found = simulate([0.5], Load(4.6), microscopes=1, workers=1, added_s=0.25)
    assert (found.mean_s, found.median_s, found.tail_s) == pytest.approx((0.75, 0.75, 0.75))
    assert found.busy == pytest.approx(0.5 / 4.6, rel=0.02)


def test_many_independent_microscopes_wait_as_a_poisson_stream_does() -> None:
    """Pollaczek and Khinchine: in an M/D/1 queue the mean wait is rho s / (2 (1 - rho))."""
    microscopes, service_s, rho = 200, 1.0, 0.5
    load = Load(microscopes * service_s / rho, jitter=0.5)
    found = simulate([service_s], load, microscopes=microscopes, workers=1, added_s=0.0)
    assert found.mean_s - service_s == pytest.approx(rho * service_s / (2 * (1 - rho)), rel=0.1)


def test_a_stack_waits_for_its_own_planes() -> None:
    found = simulate([0.1], Load(10.0, frames=20), microscopes=1, workers=1, added_s=0.0)
    assert found.mean_s == pytest.approx(0.1 * 21 / 2)
    assert found.tail_s == pytest.approx(2.0, rel=0.02)


def test_twice_the_workers_serve_twice_the_microscopes_and_never_more_than_they_can() -> None:
    options = {"load": Load(4.6), "added_s": 0.002, "within_s": 4.6}
    one, two = (most_microscopes([0.56], workers=count, **options) for count in (1, 2))
    assert 6 <= one <= 4.6 / 0.56
    assert two == pytest.approx(2 * one, abs=1)
    assert most_microscopes([5.0], workers=1, **options) == 0


def test_the_command_prints_a_row_for_each_count_of_workers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--service-ms", "560", "--interval-s", "4.6", "--workers", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["1", "2"]
    assert main(["plan", "--service-ms", "900", "--interval-s", "0.6", "--workers", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["1", "0"]
    with pytest.raises(SystemExit):
        main(["plan", "--service-ms", "0", "--interval-s", "1"])
