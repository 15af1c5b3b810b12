"""The commands of `dimstream-analyse`, one module each; heavy modules are imported only when a command
runs."""

from __future__ import annotations

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
