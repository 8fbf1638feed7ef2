"""Reading, cleaning, splits, pictures, tokenizer, synthetic queries, and the shop that ships with the project.

Beam lives here and nowhere else. ``sources`` is what a user gives, ``prepare`` and ``synthetic`` are the two stages; the other
modules are their parts.
"""

import logging

# Importing Beam warns, on the root logger, of a client for a cloud service that is not installed and not needed. The filter
# is put there before any module of this package can import it.
logging.getLogger().addFilter(lambda record: not str(record.msg).startswith("apitools not found"))
