"""A programme for HiGHS from standard input, its answer to standard output: see `integer_programs.solve_in_time`."""

import sys

from onoma.science.integer_programs import solve_packed

if __name__ == "__main__":
    sys.stdout.buffer.write(solve_packed(sys.stdin.buffer.read()))
