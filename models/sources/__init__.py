"""The forms that people have models in, recognised by their content and read without running."""
