"""What rows of features become for other programs: files, and rows of vector databases."""
