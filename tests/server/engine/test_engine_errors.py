"""Every refusal of the engine has a code that both endpoints can tell."""

import pytest

from dimstream_server.errors import FrameFailed, Refused, ServerError
from dimstream_server.problem_details import ALL_MEANINGS

REFUSALS = [cls for cls in Refused.__subclasses__() if cls.__module__ == Refused.__module__]


@pytest.mark.parametrize("cls", [*REFUSALS, FrameFailed], ids=lambda cls: cls.__name__)
def test_codes_mean_the_same_on_the_wire(cls: type[ServerError]) -> None:
    assert cls.code in ALL_MEANINGS
    assert cls.retryable == ALL_MEANINGS[cls.code].retryable


def test_each_refusal_has_a_code_of_its_own_but_those_of_a_field() -> None:
    codes = [cls.code for cls in REFUSALS if cls.code != "bad_field"]
    assert len(codes) == len(set(codes)) == 20
