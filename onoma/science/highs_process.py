"""A programme for HiGHS from standard input, its answer to standard output: see `integer_programs.solve_in_time`."""

import pickle
import sys

from onoma.science.integer_programs import solve_programme

if __name__ == "__main__":
    answer = solve_programme(*pickle.load(sys.stdin.buffer))  # noqa: S301 - it is our own process's
    pickle.dump(answer, sys.stdout.buffer)
