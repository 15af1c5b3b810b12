"""The commands of ``dimstream``, one module each; `dimstream_client.cli` joins them."""
