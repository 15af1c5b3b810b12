"""Other servers, given the same frames and the same network in the same run: `make peers`.

Each peer has a virtual environment of its own, under ``.venv-peers``; nothing of it is ever installed beside
dimstream. What runs there is in `programs`, which imports nothing of dimstream.
"""
