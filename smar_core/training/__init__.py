"""Pre-training, gate training and fine-tuning: batches, loop, validation, checkpoints."""
