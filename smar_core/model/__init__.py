"""The four towers, the gate, and how text and pictures become their inputs."""

from transformers.utils import logging

# transformers draws a bar for every file it reads or writes; a stage draws its own.
logging.disable_progress_bar()
