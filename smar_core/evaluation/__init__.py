"""Measures, slices, intervals, run files and the stage that puts them together."""
