"""How fast training and its figures of merit are, and what memory they need: `dimstream-train bench`.

`docs/benchmarks.md` says what is measured and how to read it. Speed is asserted nowhere in the tests.
"""
