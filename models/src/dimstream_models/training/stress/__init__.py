"""The stress test: structures that a model must not invent, lose, merge or dim, compared with a tuned
Gaussian."""
