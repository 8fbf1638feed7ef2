"""What grouping by item saves: the cost of a pair by how many queries of a batch share an item, encoded once.

What it does to quality is no matter of speed: train with ``pretrain.queries_per_item`` and look at the report.
"""

import statistics
from collections import defaultdict

from benchmarks.stages import Figures, Job, measure_pretrain
from smar_core.config import override_config

QUERIES_PER_ITEM = (1, 2, 3, 6)


def measure_grouping(job: Job, num_rounds: int) -> dict[str, Figures]:
    """Pre-train a few steps with each grouping in turn, ``num_rounds`` times over, from the prepared data of the job."""
    rates: dict[int, list[float]] = defaultdict(list)
    for number in range(num_rounds):
        for queries in QUERIES_PER_ITEM:
            config = override_config(job.config, [f"pretrain.queries_per_item={queries}"])
            rates[queries].append(measure_pretrain(job.beside(f"grouping-{queries}-{number}", config))["pairs_per_second"])
    alone = statistics.median(rates[1])
    return {
        f"queries_per_item={queries}": {
            "pairs_per_second": statistics.median(found),
            "least": min(found),
            "most": max(found),
            "cost_of_a_pair": alone / statistics.median(found),
        }
        for queries, found in rates.items()
    }
