"""The coverage-guided fuzzer: ``python tests/fuzz/fuzzing.py [TARGET ...]``, or ``make fuzz``; needs atheris.

Each target runs for FUZZ_SECONDS (60) in a process of its own. What it finds lies in ``fuzz/TARGET/``: copy
the file to ``tests/fuzz/corpus/TARGET/``, where the tests run it for ever, and mend the code.
"""

import os
import subprocess
import sys
from pathlib import Path

FOUND = Path("fuzz")
INSTRUMENTED = ["dimstream_client", "dimstream_models", "dimstream_server", "tifffile", "yaml", "zipfile"]
LIMITS = {
    "max_len": 16384,
    "timeout": 20,  # seconds for one input
    "rss_limit_mb": 2048,
    "malloc_limit_mb": 512,
}


def fuzz_all(names: list[str], seconds: int) -> int:
    """Fuzz targets one after the other; the exit status is 1 when one has found something."""
    from fuzz.targets import CORPUS, TARGETS

    failed = []
    for name in names or list(TARGETS):
        folder = FOUND / name
        (folder / "grown").mkdir(parents=True, exist_ok=True)
        options = [f"-{key}={value}" for key, value in LIMITS.items()]
        command = [
            sys.executable,
            __file__,
            "--one",
            name,
            str(folder / "grown"),
            str(CORPUS / name),
            f"-artifact_prefix={folder}/",
            f"-max_total_time={seconds}",
            "-print_final_stats=1",
            *options,
        ]
        print(f"== {name}: {seconds} s", flush=True)
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print(f"found something in {', '.join(failed)}: see {FOUND}/" if failed else "found nothing", flush=True)
    return int(bool(failed))


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process, until libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.targets import TARGETS

    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if sys.argv[1:2] == ["--one"]:
        fuzz_one(sys.argv[2], sys.argv[3:])
    else:
        raise SystemExit(fuzz_all(sys.argv[1:], int(os.environ.get("FUZZ_SECONDS", "60"))))
