"""Generated gRPC stubs of the Open Inference Protocol (`make protos`); not committed."""
