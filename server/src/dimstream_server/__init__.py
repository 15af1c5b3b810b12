"""The inference server: joins the wire, the bundles and ONNX Runtime."""

import os

# ONNX Runtime 1.32 and later send usage data to Microsoft, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
