"""The measurement of the loop closes the loop."""

import pytest

pytest.importorskip("pymmcore_plus")


def test_each_step_of_the_loop_is_measured_for_every_frame(peer, capsys):
    from dimstream_client.micromanager import latency

    endpoint = peer().endpoint
    table = latency.measure(endpoint, frames=12, size=24).table()
    assert {len(column) for column in table.values()} == {11 - 5}  # the last has no next, the first warm up
    columns = [table[name] for name in ("result", "decision", "event", "whole")]
    for result, decision, event, whole in zip(*columns, strict=True):
        assert min(result, decision, event) > 0
        assert result + decision + event == pytest.approx(whole)
    assert latency.main(["--server", endpoint, "--frames", "10", "--size", "24"]) == 0
    said = capsys.readouterr().out
    assert "4 frames of 24 x 24" in said
    assert all(text in said for text in latency.ROWS)
