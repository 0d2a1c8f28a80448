"""Tests, and the benchmarks and stand-ins that they share."""

import os

# Nothing here forks to go on with gRPC in the child, and gRPC's handlers may end a child before it has become the
# program that it was made for (seen of a machine of Ray's).
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
