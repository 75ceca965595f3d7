"""The decoders of samples: from a file and what its header says to a Raster."""
