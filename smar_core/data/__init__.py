"""Reading, cleaning, splits, pictures, tokenizer, synthetic queries, and the shop that ships with the project.

Beam lives here and nowhere else. ``sources`` is what a user gives, ``prepare`` and ``synthetic`` are the two stages; the other
modules are their parts.
"""
