"""Who may call what, walked: every RPC that the real servers serve, as everybody."""

from dataclasses import dataclass

import grpc
import pytest

from services.runtime.access import TABLE, Reach, audience_of
from services.runtime.tokens import Caller, Role, keys_of, with_keys_in_memory
from services.up import local_settings, start_all
from tests.services.gateway.test_blindness import rpcs_at

REFUSED = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
OWNERS_TOKEN = "the-owners-token"
SERVICES = ("inference", "attribution", "naming", "analytics", "gateway")
ADA = Caller(Role.ANNOTATOR, "ada", "s1")
VI = Caller(Role.VIEWER, "vi", "s1")


@dataclass(frozen=True)
class World:
    """Real servers, all in this process, and the keys that they share."""

    addresses: dict
    keys: object

    def walk(self, token_for):
        """What each RPC answers, by service and path: a code, or OK."""
        answers = {}
        for service, address in self.addresses.items():
            with grpc.insecure_channel(address) as channel:
                for method in rpcs_at(channel):
                    path = f"/{method.containing_service.full_name}/{method.name}"
                    answers[service, path] = called(channel, path, method, token_for(path))
        return answers

    def open_to(self, caller):
        answers = self.walk(lambda path: self.keys.token_of(caller, audience_of(path)))
        return {path for (_, path), code in answers.items() if code not in REFUSED}


def called(channel, path, method, token):
    """The code of one RPC that asks about study s1 and annotator ada, where it can say so."""
    kind = "_".join("stream" if s else "unary" for s in (method.client_streaming, method.server_streaming))
    fields = method.input_type.fields_by_name
    content = b""
    for name, value in (("study_id", b"s1"), ("annotator_id", b"ada"), ("annotator_ids", b"ada")):
        if name in fields:
            content += bytes([fields[name].number << 3 | 2, len(value)]) + value
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    sent = iter([content]) if method.client_streaming else content
    try:
        answer = getattr(channel, kind)(path)(sent, timeout=20, metadata=metadata)
        if method.server_streaming:
            next(iter(answer), None)
            answer.cancel()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    settings = local_settings(tmp_path_factory.mktemp("data"), free_ports=True)
    settings = with_keys_in_memory(settings.model_copy(update={"access_token": OWNERS_TOKEN, "drain_s": 1.0}))
    up = start_all(settings, None)
    yield World(up.addresses, keys_of(settings))
    up.stop()


def test_the_table_names_every_rpc_and_no_other(world):
    served = {path for _, path in world.walk(lambda path: "nobody's")}
    assert served == set(TABLE)


def test_the_owner_may_call_everything(world):
    assert world.open_to(Caller(Role.OWNER, "somebody")) == set(TABLE)
    answers = world.walk(lambda path: OWNERS_TOKEN)
    assert not [key for key, code in answers.items() if code in REFUSED]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_call_what_its_rows_say(world, service):
    allowed = {path for path, row in TABLE.items() if service in row.services}
    assert (
        world.open_to(Caller(Role.SERVICE, service)) - {"/onoma.v1.NamingService/AcceptInvitation"} == allowed
    )


def test_a_service_that_is_none_may_call_nothing(world):
    assert world.open_to(Caller(Role.SERVICE, "stranger")) == {"/onoma.v1.NamingService/AcceptInvitation"}


def test_annotators_and_viewers_get_what_their_rows_say_outside_naming(world):
    """In naming they come by their invitation: tests/services/naming/test_access.py walks that."""
    elsewhere = {path for path in TABLE if "NamingService" not in path}
    for caller, reaches in ((ADA, {Reach.STUDY}), (VI, {Reach.STUDY, Reach.RESULTS})):
        allowed = {path for path in elsewhere if TABLE[path].reach in reaches}
        assert allowed
        assert world.open_to(caller) - {"/onoma.v1.NamingService/AcceptInvitation"} == allowed
        stranger = Caller(caller.role, caller.subject, "another-study")
        assert world.open_to(stranger) == {"/onoma.v1.NamingService/AcceptInvitation"}


def test_nobody_else_may_call_anything(world):
    naming = world.keys.token_of(Caller(Role.OWNER, "somebody"), "another.Service")
    strangers = ["", "guess", OWNERS_TOKEN[:-1], OWNERS_TOKEN + "x", "a.b.c", naming]
    for token in strangers:
        answers = world.walk(lambda path, token=token: token)
        open_to = {path for (_, path), code in answers.items() if code != grpc.StatusCode.UNAUTHENTICATED}
        assert open_to == {"/onoma.v1.NamingService/AcceptInvitation"}, token
