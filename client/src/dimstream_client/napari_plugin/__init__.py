"""The napari plugin: follow a stream of a server, and denoise a layer. Needs the extra `napari`."""
