"""What the tables of settings share: they cannot be changed, and unknown keys are refused."""

from pydantic import BaseModel, ConfigDict

MIB = 1024 * 1024
MOST_BYTES = 2**40  # ZeroMQ's own limit is not far above


class Table(BaseModel):
    """One table of the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
