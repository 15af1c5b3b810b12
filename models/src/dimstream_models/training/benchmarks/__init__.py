"""Speed and memory of training and of image metrics: `dimstream-train bench`.

`docs/benchmarks.md` explains what is measured and how to read it. No test asserts speed.
"""
