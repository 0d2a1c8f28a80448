"""What the client makes of what gRPC says."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from onoma.client import Addresses, Client, NotImplementedYet


def test_a_server_that_does_not_know_a_call_is_said_to_be_older() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with (
            Client(Addresses(*[address] * 4)) as client,
            pytest.raises(
                NotImplementedYet, match=f"service at {address} does not know this call.*older"
            ) as raised,
        ):
            client.get_study("any")
        assert raised.value.reason == ""
    finally:
        server.stop(None)
