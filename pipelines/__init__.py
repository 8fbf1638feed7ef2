"""The pipeline: its DAG, compiling it, running it on this machine, and the command line."""
