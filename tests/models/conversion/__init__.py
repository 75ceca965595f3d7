"""The making of modules of models that were not exported as such."""
