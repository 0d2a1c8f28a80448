"""PostgreSQL and MinIO on this machine without containers: for `make up-local` and for the tests."""
