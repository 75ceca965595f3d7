"""Fine-tuning: from a manifest with labels to a module that `extract` takes."""
