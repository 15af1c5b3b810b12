"""The inference server: joins the wire, the bundles and ONNX Runtime."""
