"""Experiments: many trainings that differ in a variant, a setting or a seed, and what they say together."""
