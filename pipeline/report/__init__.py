"""A dataset on one page: what is gathered of it, its charts, and the page itself."""
