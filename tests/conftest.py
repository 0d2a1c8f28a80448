pytest_plugins = ["tests.minio_fixture", "tests.postgresql_fixture"]
