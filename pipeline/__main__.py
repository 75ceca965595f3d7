"""`python -m pipeline` is `image-features`."""

from pipeline.cli import console

if __name__ == "__main__":
    console()
