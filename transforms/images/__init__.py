"""One image: fetched, decoded, turned into the colours and the size that a model takes."""
