pytest_plugins = ["tests.minio_fixture"]
