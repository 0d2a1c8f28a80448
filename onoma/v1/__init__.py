"""Generated gRPC stubs (`make protos`); not committed."""
