"""Calls among services: none without a deadline, reads sent again, changes sent once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from onoma.client import OnomaError
from onoma.client.transport import _STUBS, Addresses, Transport
from onoma.v1 import analytics_pb2, attribution_pb2, inference_pb2, jobs_pb2, naming_pb2
from services.runtime import ray_engine
from services.runtime.channels import open_channel
from services.runtime.errors import FailedPrecondition, Unavailable
from services.runtime.peers import asking
from services.runtime.settings import RuntimeSettings
from tests.services.runtime.echo import Echo, EchoStub, start_echo

DEADLINE_S = 20
METHODS = {
    f"/{service.full_name}/{method.name}": method
    for module in (inference_pb2, attribution_pb2, naming_pb2, analytics_pb2, jobs_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
# Written out, so that a new RPC has to be put on a side by hand. AnalyseStudy and SortBySimilarity change nothing, but
# are too much work to be sent again unasked.
SENT_ONCE = {
    "AcceptInvitation", "Act", "AnalyseStudy", "CancelJob", "CloseStudy", "ComputeMaps", "CreateStudy",
    "DeleteAnnotator", "DeleteDataset", "DeleteModel", "DeleteStudy", "DeleteXnnSet", "ForgetStudy", "ImportDataset",
    "ImportMaps", "ImportNamings", "ImportStudyMaps", "ImportXnnSet", "InviteAnnotator", "OpenStudy", "OverruleLabels",
    "PublishActivations", "RegisterModel", "RenameStudy", "RenewInvitation", "ResumeJob", "RevokeInvitation",
    "SetVocabulary", "SortBySimilarity", "TrainXnn", "UploadDataset", "UploadObject",
}  # fmt: skip
SENT_AGAIN = {
    "Attribute", "ExplainImage", "ExportNamings", "GetAgreement", "GetConsensus", "GetCoverage",
    "GetDataset", "GetImage", "GetImages", "GetJob", "GetMapProvenance", "GetMaps", "GetModel", "GetNaming",
    "GetObject", "GetPurity", "GetStudy", "GetStudyMaps", "GetSummary", "GetVocabulary", "GetXnnSet", "ListActivations",
    "ListActs", "ListAnnotators", "ListDatasets", "ListExplainedImages", "ListImages", "ListImportIssues", "ListJobs",
    "ListModels", "ListStudies", "ListXnnScores", "ListXnnSets", "Predict", "PredictStream", "WatchAnnotators",
    "WatchJob", "WatchNaming",
}  # fmt: skip


class Refusing(grpc.GenericRpcHandler):
    """Answers every RPC with one status, and counts."""

    def __init__(self, code):
        self.calls = Counter()
        self._code = code

    def service(self, details):
        method = METHODS[details.method]

        def refuse(request, context):
            self.calls[details.method] += 1
            context.abort(self._code, "not now")

        def refuse_in_a_stream(request, context):
            refuse(request, context)
            yield b""

        kind = "_".join(
            "stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming)
        )
        behaviour = refuse_in_a_stream if method.server_streaming else refuse
        return getattr(grpc, f"{kind}_rpc_method_handler")(behaviour)


@pytest.fixture(params=[grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED], ids=lambda code: code.name)
def nobody(request):
    """A server that is not available, or stops before it has begun with a call, and its address."""
    handler = Refusing(request.param)
    server = grpc.server(ThreadPoolExecutor(16), handlers=[handler])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield handler, address
    server.stop(None).wait()


def over_a_service_s_channel(address):
    """Calls every RPC as a service calls another."""
    with open_channel(address, RuntimeSettings()) as channel, ThreadPoolExecutor(16) as callers:
        list(callers.map(lambda path: call(channel, path), METHODS))


def call(channel, path):
    method = METHODS[path]
    kind = "_".join(
        "stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming)
    )
    request = GetMessageClass(method.input_type)().SerializeToString()
    answer = getattr(channel, kind)(path)
    with pytest.raises(grpc.RpcError):
        list(answer(iter([request]) if method.client_streaming else request, timeout=DEADLINE_S))


def over_the_client(address):
    """Calls every RPC as the SDK does."""
    transport = Transport(Addresses(*[address] * 4), timeout_s=DEADLINE_S)
    services = {stub.__name__: name for name, stubs in _STUBS.items() for stub in stubs}

    def one(path):
        method, (_, full_name, rpc) = METHODS[path], path.split("/")
        message = GetMessageClass(method.input_type)()
        request = iter([message]) if method.client_streaming else message
        service = services[f"{full_name.rpartition('.')[2]}Stub"]
        with pytest.raises(OnomaError):
            list(
                transport.stream(service, rpc, request)
                if method.server_streaming
                else [transport.call(service, rpc, request)]
            )

    with ThreadPoolExecutor(16) as callers:
        list(callers.map(one, METHODS))
    transport.close()


def test_every_rpc_is_said_to_be_sent_once_or_again():
    names = {path.rpartition("/")[2] for path in METHODS}
    assert (names, set()) == (SENT_ONCE | SENT_AGAIN, SENT_ONCE & SENT_AGAIN)


@pytest.mark.parametrize("call_all", [over_a_service_s_channel, over_the_client])
def test_what_reads_is_sent_again_and_what_changes_once(nobody, call_all):
    handler, address = nobody
    call_all(address)
    again = {path.rpartition("/")[2] for path, times in handler.calls.items() if times > 1}
    assert set(handler.calls) == set(METHODS)
    assert again == SENT_AGAIN
    assert max(handler.calls.values()) <= 5


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
def test_no_call_of_a_service_leaves_without_a_deadline(nobody, kind):
    handler, address = nobody
    with open_channel(address, RuntimeSettings()) as channel:
        method = getattr(channel, kind)(next(iter(METHODS)))
        with pytest.raises(ValueError, match="has no deadline: give it a timeout"):
            list(method(iter([b""]) if kind.startswith("stream") else b""))
    assert handler.calls.total() == 0


def test_no_call_of_the_client_leaves_without_a_deadline(nobody):
    _, address = nobody
    left_s = []

    def connect(address, options):
        return grpc.intercept_channel(grpc.insecure_channel(address, options), Deadlines(left_s))

    transport = Transport(Addresses(*[address] * 4), timeout_s=0.5, connect=connect)
    for given in (None, 0.25):
        with pytest.raises(OnomaError):
            transport.call("naming", "OpenStudy", naming_pb2.OpenStudyRequest(), timeout_s=given)
        with pytest.raises(OnomaError):
            list(transport.stream("naming", "WatchNaming", naming_pb2.WatchNamingRequest(), timeout_s=given))
    transport.close()
    assert left_s == [0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_a_service_that_stops_in_the_middle_of_a_call_is_one_that_does_not_answer(code):
    handler = Refusing(code)
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        publish = channel.stream_unary("/onoma.v1.NamingService/PublishActivations")
        with pytest.raises(Unavailable, match="the naming service does not answer in time"), asking("naming"):
            publish(iter([b""]), timeout=DEADLINE_S)
    server.stop(None).wait()


class Deadlines(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Notes how long calls are given."""

    def __init__(self, noted):
        self.noted = noted

    def intercept_unary_unary(self, continuation, details, request):
        self.noted.append(details.timeout)
        return continuation(details, request)

    intercept_unary_stream = intercept_unary_unary


@pytest.fixture
def proxy_that_leads_nowhere(monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")


@pytest.mark.usefixtures("proxy_that_leads_nowhere")
def test_calls_among_services_go_through_no_proxy(settings):
    running = start_echo(Echo(), settings)
    with open_channel(running.address, settings) as channel:
        assert EchoStub(channel).unary(b"x", timeout=DEADLINE_S) == b"x"
    running.stop(within_s=0)


@pytest.mark.usefixtures("proxy_that_leads_nowhere")
def test_nor_does_the_question_whether_a_cluster_answers(settings, monkeypatch):
    monkeypatch.setattr(ray_engine, "ANSWER_S", 5.0)
    running = start_echo(Echo(), settings)
    with pytest.raises(FailedPrecondition, match="no Ray listens there"):
        ray_engine._check_answers(f"ray://{running.address}")
    running.stop(within_s=0)
