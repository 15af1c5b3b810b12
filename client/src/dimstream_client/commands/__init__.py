"""The commands of ``dimstream``, one module each; `dimstream_client.cli` makes one program of them."""
