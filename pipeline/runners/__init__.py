"""The engines: what each needs of the options, and the workers that we bring to them."""
