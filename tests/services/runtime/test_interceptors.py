"""What every call gets: an id, a deadline, errors as google.rpc status, numbers, a line in the log."""

import logging
import logging.handlers
import queue
import threading

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import REGISTRY

from services.runtime import errors
from services.runtime.channels import open_channel
from services.runtime.logs import request_id
from tests.services.runtime.echo import NAME, Echo, EchoStub, start_echo

DEADLINE_S = 20


def raising(error):
    def behaviour(request, context):
        raise error

    return behaviour


def raising_after_one(error):
    def behaviour(request, context):
        yield b"one"
        raise error

    return behaviour


def calls(stub):
    """The four kinds of calls, each as a function that consumes all answers."""
    return {
        "unary": lambda **kw: stub.unary(b"x", timeout=DEADLINE_S, **kw),
        "stream_out": lambda **kw: list(stub.stream_out(b"x", timeout=DEADLINE_S, **kw)),
        "stream_in": lambda **kw: stub.stream_in(iter([b"x"]), timeout=DEADLINE_S, **kw),
        "both": lambda **kw: list(stub.both(iter([b"x"]), timeout=DEADLINE_S, **kw)),
    }


def details_of(error):
    return rpc_status.from_call(error).details


def error_info(error):
    info = error_details_pb2.ErrorInfo()
    assert details_of(error)[0].Unpack(info)
    return info


@pytest.mark.parametrize("kind", ["unary", "stream_out", "stream_in", "both"])
class TestEveryKindOfCall:
    def test_answers_pass_unchanged(self, stub, kind):
        expected = {"unary": b"x", "stream_out": [b"x", b"x"], "stream_in": b"x", "both": [b"x"]}
        assert calls(stub)[kind]() == expected[kind]

    def test_bytes_that_are_no_message_are_the_callers_fault(self, echo, kind, request):
        echo.read = Timestamp.FromString  # "x" is none
        echo.stream_in = lambda requests, context: b"".join(map(str, requests))
        with pytest.raises(grpc.RpcError) as caught:
            calls(request.getfixturevalue("stub"))[kind]()
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "no message that the method takes" in caught.value.details()

    def test_a_service_error_arrives_as_its_code_with_an_error_info(self, stub, echo, kind):
        setattr(echo, kind, raising(errors.NotFound("no data set 'x'", "NO_DATASET", {"dataset": "x"})))
        with pytest.raises(grpc.RpcError) as caught:
            calls(stub)[kind]()
        info = error_info(caught.value)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "no data set 'x'"
        assert (info.reason, info.domain, info.metadata["dataset"]) == ("NO_DATASET", "onoma.v1", "x")

    def test_the_request_id_of_the_caller_is_known_inside(self, stub, echo, kind):
        setattr(echo, kind, raising(errors.NotFound("nothing")))
        with pytest.raises(grpc.RpcError) as caught:
            calls(stub)[kind](metadata=[("x-request-id", "id-7")])
        assert error_info(caught.value).metadata["request_id"] == "id-7"
        assert ("x-request-id", "id-7") in caught.value.trailing_metadata()


@pytest.mark.parametrize("kind", ["stream_out", "both"])
def test_an_error_in_the_middle_of_a_stream_comes_after_what_was_sent(stub, echo, kind):
    setattr(echo, kind, raising_after_one(errors.DataLoss("object 12 is damaged")))
    request = b"x" if kind == "stream_out" else iter([b"x"])
    answers = getattr(stub, kind)(request, timeout=DEADLINE_S)
    assert next(answers) == b"one"
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert caught.value.code() == grpc.StatusCode.DATA_LOSS


@pytest.mark.parametrize("given", [None, "x" * 65, "a b", "a;b"])
def test_an_id_that_is_not_fit_for_a_log_is_replaced(stub, given):
    metadata = [("x-request-id", given)] if given else None
    _, call = stub.unary.with_call(b"x", timeout=DEADLINE_S, metadata=metadata)
    assert len(dict(call.trailing_metadata())["x-request-id"]) == 32


def test_the_id_is_carried_on_to_the_services_behind(stub, echo, settings):
    behind, seen = Echo(), []
    behind.unary = lambda request, context: seen.append(request_id.get()) or b""
    running = start_echo(behind, settings)
    with open_channel(running.address, settings) as channel:
        echo.unary = lambda request, context: EchoStub(channel).unary(request, timeout=DEADLINE_S)
        stub.unary(b"x", timeout=DEADLINE_S, metadata=[("x-request-id", "id-8")])
    running.stop(within_s=0)
    assert seen == ["id-8"]


def test_what_science_refuses_is_an_invalid_argument(stub, echo):
    echo.unary = raising(ValueError("share 2.0 is outside (0, 1]"))
    with pytest.raises(grpc.RpcError) as caught:
        stub.unary(b"x", timeout=DEADLINE_S)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "share 2.0 is outside (0, 1]"


def test_an_unexpected_error_shows_its_id_outside_and_itself_only_in_the_log(stub, echo, caplog):
    echo.unary = raising(KeyError("password=hunter2"))
    with pytest.raises(grpc.RpcError) as caught:
        stub.unary(b"x", timeout=DEADLINE_S, metadata=[("x-request-id", "id-9")])
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert caught.value.details() == "internal error, request id id-9"
    assert "hunter2" in caplog.text


def test_a_stale_revision_brings_the_present_state(stub, echo):
    echo.unary = raising(errors.Aborted("revision 3 is now 5", present=Timestamp(seconds=5)))
    with pytest.raises(grpc.RpcError) as caught:
        stub.unary(b"x", timeout=DEADLINE_S)
    present = Timestamp()
    assert caught.value.code() == grpc.StatusCode.ABORTED
    assert details_of(caught.value)[1].Unpack(present)
    assert present.seconds == 5


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidArgument("no class " + "x" * 100_000),
        errors.InvalidArgument("keine Klasse " + "ü" * 10_000),
        errors.Aborted(
            "revision 3 is now 5",
            present=error_details_pb2.DebugInfo(stack_entries=["line"] * 10_000),
        ),
    ],
)
def test_an_error_too_large_for_headers_still_arrives_as_itself(stub, echo, error):
    echo.unary = raising(error)
    with pytest.raises(grpc.RpcError) as caught:
        stub.unary(b"x", timeout=DEADLINE_S)
    assert caught.value.code() == error.code
    assert caught.value.details()[:11] == str(error)[:11]


def test_an_error_of_a_service_behind_is_passed_on(stub, echo, settings):
    behind = Echo(unary=raising(errors.FailedPrecondition("the study is closed", "STUDY_CLOSED")))
    running = start_echo(behind, settings)
    with open_channel(running.address, settings) as channel:
        echo.unary = lambda request, context: EchoStub(channel).unary(request, timeout=DEADLINE_S)
        with pytest.raises(grpc.RpcError) as caught:
            stub.unary(b"x", timeout=DEADLINE_S)
    running.stop(within_s=0)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(caught.value).reason == "STUDY_CLOSED"


def test_a_handler_may_abort_by_itself(stub, echo):
    echo.unary = lambda request, context: context.abort(grpc.StatusCode.OUT_OF_RANGE, "past the end")
    with pytest.raises(grpc.RpcError) as caught:
        stub.unary(b"x", timeout=DEADLINE_S)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.OUT_OF_RANGE, "past the end")


def test_a_call_with_no_time_left_does_no_work(stub, echo):
    worked = []
    echo.unary = lambda request, context: worked.append(request) or b""
    with pytest.raises(grpc.RpcError) as caught:
        stub.unary(b"x", timeout=0.000_001)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert stub.unary(b"y", timeout=DEADLINE_S) == b""
    assert worked == [b"y"]


def test_a_strangers_call_without_deadline_is_answered_and_the_log_says_so(server, stub, caplog):
    caplog.set_level(logging.INFO, "onoma.calls")
    with grpc.insecure_channel(server.address) as channel:
        EchoStub(channel).unary(b"x")
    stub.unary(b"x", timeout=DEADLINE_S)
    first, second = (record.time_left_s for record in caplog.records if record.name == "onoma.calls")
    assert first is None
    assert 0 < second < DEADLINE_S + 1  # gRPC rounds


def test_the_line_of_a_refusal_has_its_reason_and_not_what_was_sent(stub, echo, caplog):
    echo.unary = raising(errors.AlreadyExists("there is an 'Ada Lovelace' already", "NAME_TAKEN"))
    with pytest.raises(grpc.RpcError):
        stub.unary(b"x", timeout=DEADLINE_S)
    (record,) = (record for record in caplog.records if record.name == "onoma.calls")
    assert (record.levelname, record.code, record.getMessage()) == ("WARNING", "ALREADY_EXISTS", "NAME_TAKEN")


def test_one_line_a_call_without_its_payload(stub, echo, caplog):
    caplog.set_level(logging.INFO, "onoma.calls")
    stub.unary(b"secret payload", timeout=DEADLINE_S)
    (record,) = (record for record in caplog.records if record.name == "onoma.calls")
    assert (record.method, record.code) == (f"{NAME}/Unary", "OK")
    assert "secret" not in str(record.__dict__)


def test_calls_are_counted_by_method_and_code(stub, echo):
    def count(code):
        labels = {"method": f"{NAME}/Unary", "code": code}
        return REGISTRY.get_sample_value("onoma_grpc_calls_total", labels) or 0

    before = count("OK"), count("NOT_FOUND")
    stub.unary(b"x", timeout=DEADLINE_S)
    echo.unary = raising(errors.NotFound("nothing"))
    with pytest.raises(grpc.RpcError):
        stub.unary(b"x", timeout=DEADLINE_S)
    assert (count("OK"), count("NOT_FOUND")) == (before[0] + 1, before[1] + 1)


def test_a_stream_whose_client_goes_away_ends(stub, echo):
    ended = threading.Event()

    def endless(request, context):
        try:
            while True:
                yield b"more"
        finally:
            ended.set()

    echo.stream_out = endless
    answers = stub.stream_out(b"x", timeout=DEADLINE_S)
    next(answers)
    answers.cancel()
    assert ended.wait(DEADLINE_S)


def test_an_upload_whose_client_goes_away_is_no_internal_error(stub):
    more, lines = threading.Event(), queue.SimpleQueue()

    def requests():
        yield b"first"
        more.wait(DEADLINE_S)

    handler = logging.handlers.QueueHandler(lines)
    logger = logging.getLogger("onoma.calls")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        answers = stub.both(requests(), timeout=DEADLINE_S)
        next(answers)
        answers.cancel()
        # The end of a cancelled upload may reach the handler before the cancelling does: then it looks complete.
        assert lines.get(timeout=DEADLINE_S).code in ("CANCELLED", "OK")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        more.set()


def test_a_stream_that_waits_sends_nothing_for_none(stub, echo):
    echo.stream_out = lambda request, context: iter([None, b"one", None, b"two", None])
    assert list(stub.stream_out(b"x", timeout=DEADLINE_S)) == [b"one", b"two"]
