"""How to analyse a study; apart from the analysis, so that a command can name its defaults without numpy."""

from dataclasses import dataclass

CONFIDENCE = 0.95
"""Of intervals."""

TIME_LIMIT_S = 30.0
"""For one matching of one pair of namings; only large or very noisy graphs come near it."""


@dataclass(frozen=True)
class Options:
    """How to analyse.

    Attributes:
        shuffles: of the permutation baseline in each category, spread over its pairs; 0 leaves it out. One_to_one
            has at least SHUFFLES_OF_A_PAIR of every pair, or as many as this.
        seed: of the shuffles; the same seed gives the same baseline whatever the order of annotators.
        time_limit_s: for one matching of one pair, and for all shuffles of one pair.
        confidence: of the intervals.
        processes: categories that are analysed beside each other.
        with_pairs: False leaves out all that needs pairs of namings: agreement, labels, consensus.
    """

    shuffles: int = 100
    seed: int = 0
    time_limit_s: float = TIME_LIMIT_S
    confidence: float = CONFIDENCE
    processes: int = 1
    with_pairs: bool = True
