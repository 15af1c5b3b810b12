"""The section of a model card about error bars."""

from __future__ import annotations

import re
from typing import Final

from dimstream_models.bundle import ErrorBarRecord

HEADING: Final = "## Error bars"
_GOAL: Final = "For a normal distribution, these are 68.3 and 95.4 %."


def error_bar_section(record: ErrorBarRecord | None) -> str:
    """Return the section of a model card; empty for a model without error bars."""
    if record is None:
        return ""
    text = (
        "On request each denoised pixel comes with a standard deviation, in the same counts, of its distance"
        f" from the true light (dimstream's `docs/error-bars.md`). Fitted to {record.method}; seed"
        f" {record.seed}."
    )
    if not record.coverage:
        return f"{HEADING}\n\n{text} {record.note[:1].upper()}{record.note[1:]}."
    rows = "\n".join(
        f"| {row.dose_photons[0]:g} to {row.dose_photons[1]:g} | {row.structure} |"
        f" {100 * row.within_one:.1f} | {100 * row.within_two:.1f} |"
        for row in record.coverage
    )
    table = f"| photons | structure | within one, % | within two, % |\n|---|---|---|---|\n{rows}"
    shares = f"Share of true values within one and two error bars, {record.note}. {_GOAL}"
    return f"{HEADING}\n\n{text} {shares}\n\n{table}"


def with_error_bar_section(documentation: str, record: ErrorBarRecord) -> str:
    """Return a README with the section, which replaces an older one or is added at the end."""
    section = f"{error_bar_section(record)}\n"
    found = re.search(rf"^{HEADING}$.*?(?=^## |\Z)", documentation, re.MULTILINE | re.DOTALL)
    if found is None:
        return f"{documentation.rstrip()}\n\n{section}"
    rest = documentation[found.end() :]
    return documentation[: found.start()] + section + ("\n" + rest if rest else "")
