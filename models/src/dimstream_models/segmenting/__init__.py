"""Networks that say what a pixel shows: images on the pixels that they know, tile by tile."""
