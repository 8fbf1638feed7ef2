"""How much faster than the towers' weights a learned loss weight or temperature moves."""

PACE = 10.0
"""A logarithm that is learned is this many times its parameter.

Adam moves a parameter by about the learning rate a step however large its gradient is: at 1e-3 and with the cosine, by about 0.25
in 500 steps. Of the logarithm of a weight or of the temperature that is next to nothing; ten times as much is enough to get
anywhere that makes sense.
"""
