"""Why a benchmark gives no figures."""


class BenchmarkError(Exception):
    """What is measured does not run, or does not give the right pixels; the text is for the operator."""
