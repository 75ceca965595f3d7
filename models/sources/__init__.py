"""The forms that people have models in: recognised and read by their content, never run."""
