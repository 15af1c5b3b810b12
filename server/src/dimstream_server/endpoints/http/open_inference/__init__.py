"""The Open Inference Protocol, version 2, over HTTP with binary tensors: for clients of Triton and KServe."""
