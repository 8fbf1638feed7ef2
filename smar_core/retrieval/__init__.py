"""Exporting a trained model and searching with it."""
