"""The making of feature-vector modules of models that were not exported as such."""
