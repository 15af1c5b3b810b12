"""The stress test: structures that a model may not invent, lose, merge or dim, beside a tuned Gaussian."""
