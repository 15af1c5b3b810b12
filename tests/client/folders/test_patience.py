"""Waiting for a server, told by what a program sees of it."""

import math

import pytest

from dimstream_client.errors import Code, ConnectionLost, NotAdmitted, Problem, StreamError, Timeout
from dimstream_client.folders.waiting_for_server import ATTEMPTS, Patience, Unanswered


def script(*steps):
    """A call that does one step after the other: raises an error, or gives a value."""
    left = list(steps)

    def call():
        step = left.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    call.left = left
    return call


LOST = ConnectionLost("it is gone")
BUSY = StreamError(Problem.of(Code.SERVER_BUSY, "too many requests"))


def test_a_server_that_comes_back_is_asked_again():
    said = []
    ask = script(LOST, Timeout("silent"), "there")
    assert Patience(ask, math.inf, said.append).do(script(LOST, "done")) == "done"
    assert said == ["waiting for the server: it is gone"]


def test_a_server_that_is_busy_is_asked_again():
    assert Patience(script(), math.inf, print).do(script(BUSY, BUSY, "done")) == "done"


def test_a_server_that_stays_away_is_lost():
    with pytest.raises(ConnectionLost):
        Patience(script(LOST, LOST, LOST), 0.3, print).do(script(LOST))


def test_a_file_that_gets_no_answer_from_a_server_that_is_there_fails_alone():
    action = script(*[LOST] * ATTEMPTS, "never")
    with pytest.raises(Unanswered, match="3 times no answer came"):
        Patience(lambda: "there", math.inf, print).do(action)
    assert action.left == ["never"]


@pytest.mark.parametrize(
    "error", [NotAdmitted("no key"), StreamError(Problem.of(Code.OVERSIZE, "too large"))]
)
def test_what_waiting_does_not_mend_is_told_at_once(error):
    with pytest.raises(type(error)):
        Patience(script(), math.inf, print).do(script(error))
