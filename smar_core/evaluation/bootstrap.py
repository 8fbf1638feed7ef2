"""Percentile bootstrap over queries: how far a mean may be from what other queries of the same kind would have given.

The query is the unit (clicks of one query are not independent). A resample is a vector of counts, so that all measures of
all systems are averaged by one matrix product: about 0.1 s for 1,700 queries, 1,000 resamples and 100 columns. Every column
sees the same resamples; subtracting two columns therefore gives the *paired* interval of a difference. The percentile
form was taken for being plain and staying within a measure's range; with fewer than about 30 queries it is too narrow. Left out:
the spread between training seeds, which is another question, and corrections for looking at many slices.

The intervals of a traffic-weighted mean are wider than those of the plain one: a few queries carry most of the traffic.

Shapes: Q queries, M columns, S resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

MAX_COUNTS_IN_MEMORY = 2**23
"""Counts of a block of resamples: 64 MiB."""


@dataclass(frozen=True)
class Interval:
    """A mean over queries and its interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """Return value, low and high by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


def resample_means(value_QM: Values, num_samples: int, seed: int, weight_Q: Values | None = None) -> Values:
    """Return the means of M columns in S bootstrap resamples of the queries [S, M].

    Args:
        value_QM: Values by query; Q > 0.
        num_samples: S.
        seed: Equal seeds draw equal resamples for equal Q, whatever the columns are.
        weight_Q: Above 0, how much each query counts in a mean; None for all alike. A resample is averaged by the weights of the
            queries that it drew (a ratio of two sums), so that it is a mean of its own traffic.
    """
    num_queries = len(value_QM)
    weight_Q = np.ones(num_queries) if weight_Q is None else weight_Q
    weighted_QM = np.column_stack([value_QM * weight_Q[:, None], weight_Q])
    rng = np.random.default_rng(seed)
    share = np.full(num_queries, 1.0 / num_queries)
    block = max(1, MAX_COUNTS_IN_MEMORY // num_queries)
    sums = np.concatenate(
        [
            rng.multinomial(num_queries, share, size=min(block, num_samples - start)) @ weighted_QM
            for start in range(0, num_samples, block)
        ]
    )
    return sums[:, :-1] / sums[:, -1:]


def percentile_interval(value: float, sample_S: Values, confidence: float) -> Interval:
    """Return a value with the middle ``confidence`` share of its resamples.

    >>> percentile_interval(4.0, np.arange(9.0), 0.75)
    Interval(value=4.0, low=1.0, high=7.0)
    """
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(sample_S, [tail, 1.0 - tail])
    return Interval(float(value), float(low), float(high))
