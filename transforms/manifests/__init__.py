"""What names images: manifest formats, listings, and the columns that travel along."""
