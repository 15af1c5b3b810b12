"""The two endpoints, ZeroMQ and HTTP: they translate, and share the one call `engine.submit`."""
