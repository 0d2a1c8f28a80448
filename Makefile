.PHONY: protos
protos: ; .venv/bin/python -m grpc_tools.protoc -Iprotos --python_out=. --pyi_out=. --grpc_python_out=. protos/onoma/v1/*.proto
