"""The engines for pipelines of one's own: a handler for RunInference, and an MLTransform."""
