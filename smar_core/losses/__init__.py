"""Contrastive losses and the objectives of the two training stages: tensors in, tensors out."""
