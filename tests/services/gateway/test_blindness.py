"""Blindness, walked: what another annotator names changes nothing in what one is told, by any RPC or HTTP route.

The walk is made before and after Zed names, with all answers kept: whatever of Zed's work came through, a name, an id
or a count, would make the two differ. A viewer's walk shows that it finds what there is to be found.
"""

import itertools
import re
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from starlette.routing import Mount
from starlette.testclient import TestClient

from onoma.open_inference import v2_pb2  # noqa: F401  puts its service into the descriptor pool
from onoma.v1 import naming_pb2 as pb
from services.gateway import signing_in
from services.gateway.app import build
from services.gateway.routes import ANNOTATOR
from services.naming import service as naming_service
from services.runtime.settings import RuntimeSettings

NAME, CONCEPT, CONCEPT_ID, ACT_ID = "Zed Quillfeather", "xyloglyph", "zeds-concept-7131", "zeds-act-7131"
# With and without what a curious page may add.
MORE = ({}, {"request_id": "bos-act", "command": {"create": {"concept_id": CONCEPT_ID, "name": "mine"}}})
PUBLIC = ("grpc.health", "grpc.reflection")


@dataclass(frozen=True)
class World:
    """A study that Zed is about to name, and where its services are."""

    open_study: object
    study: pb.Study
    zed_id: str
    settings: RuntimeSettings

    @property
    def client(self):
        return self.open_study.client

    def invite(self, name, role=pb.ROLE_ANNOTATOR):
        return self.client.invite_annotator(self.study.study_id, name, role=role)

    def name(self):
        """What Zed does: two concepts, names, a discard."""
        category = self.study.categories[0]
        naming = self.client.get_naming(self.study.study_id, self.zed_id, category)
        made = pb.CreateConcept(concept_id=CONCEPT_ID, name=CONCEPT, activation_ids=naming.pool[:5])
        naming = self.client.act(naming, pb.Command(create=made), request_id=ACT_ID)
        gone = pb.DiscardActivations(activation_ids=naming.pool[:3], reason=pb.DISCARD_REASON_NOISE)
        self.client.act(naming, pb.Command(discard=gone))

    def secrets(self):
        return (NAME, CONCEPT, CONCEPT_ID, ACT_ID, self.zed_id)


@pytest.fixture
def world(open_study, monkeypatch):
    for name in ("_WATCH_S", "_LOOK_S"):
        monkeypatch.setattr(naming_service, name, 0.2)
    client = open_study.client
    categories = list(open_study.study.categories)
    study = client.create_study("blind", "tiny", "shapes", "tiny", categories)
    client.compute_maps(study.study_id).wait()
    study = client.open_study(study.study_id)
    zed = client.invite_annotator(study.study_id, NAME)
    addresses = {f"{name}_address": address for name, address in open_study.running.addresses.items()}
    return World(open_study, study, zed.annotator.annotator_id, RuntimeSettings(**addresses))


def values_of(world, target_id):
    """What a curious request says, by field."""
    category = world.study.categories[0]
    return {
        "study_id": world.study.study_id,
        "study": world.study.study_id,
        "annotator_id": target_id,
        "annotator_ids": [target_id, world.zed_id],
        "category": category,
        "request_id": ACT_ID if target_id == world.zed_id else "bos-act",
        "base_revision": 0,
        "command": pb.Command(create=pb.CreateConcept(concept_id=CONCEPT_ID, name="mine")),
        "display_name": NAME,
    }


def rpcs_at(channel):
    """Every RPC that a server says it serves."""
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=10)
    for service in answer.list_services_response.service:
        if not service.name.startswith(PUBLIC):
            yield from descriptor_pool.Default().FindServiceByName(service.name).methods


def told_by(channel, method, values, token):
    """All that one RPC says: messages, or the error, with the metadata around them."""
    kind = "_".join("stream" if s else "unary" for s in (method.client_streaming, method.server_streaming))
    caller = getattr(channel, kind)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=type(_request(method, values)).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    request = _request(method, values)
    metadata = (("authorization", f"Bearer {token}"), ("x-request-id", "walk"))
    sent = iter([request]) if method.client_streaming else request
    told = []
    try:
        if method.server_streaming:
            stream = caller(sent, timeout=30, metadata=metadata)
            for message in stream:
                told.append(str(message))
        else:
            told.append(str(caller(sent, timeout=30, metadata=metadata)))
    except grpc.RpcError as error:
        told += [
            str(error.code()),
            error.details(),
            str(error.initial_metadata()),
            str(error.trailing_metadata()),
        ]
    return told


def _request(method, values):
    known = {name: value for name, value in values.items() if name in method.input_type.fields_by_name}
    message = GetMessageClass(method.input_type)()
    for name, value in known.items():
        field = method.input_type.fields_by_name[name]
        if field.message_type and value.DESCRIPTOR is field.message_type:
            getattr(message, name).CopyFrom(value)
        elif field.is_repeated:
            getattr(message, name).extend(value)
        elif not field.message_type:
            setattr(message, name, value)
    return message


def walk_rpcs(world, token, own_id):
    """What every RPC of every service tells, asked for Zed's work and for one's own."""
    found = {}
    for service, address in world.open_study.running.addresses.items():
        with grpc.insecure_channel(address) as channel:
            for method in rpcs_at(channel):
                for target in (world.zed_id, own_id):
                    key = (service, method.full_name, "Zed" if target == world.zed_id else "own")
                    found[key] = told_by(channel, method, values_of(world, target), token)
    return found


def walk_routes(world, browser, own_id):
    """What every route of the application tells, asked for Zed's work and for one's own."""
    found = {}
    category = world.study.categories[0]
    (picture,) = list(world.client.list_images("shapes", class_name=category))[:1]
    job = next(world.client.list_jobs())
    for route in browser.app.routes:
        if route.path == signing_in.PATH:
            continue  # it counts guesses, and knows of no study
        path = f"{route.path}/x" if isinstance(route, Mount) else route.path
        for target in (world.zed_id, own_id):
            values = {
                "study_id": world.study.study_id,
                "annotator_id": target,
                "image_id": picture.image_id,
                "job_id": job.message.job_id,
                "file": "index.html",
                "elsewhere": f"studies/{world.study.study_id}/annotators/{target}",
            }
            address = re.sub(r"{(\w+)(:\w+)?}", lambda found, values=values: values[found[1]], path)
            for method, more in itertools.product(getattr(route, "methods", {"GET"}), MORE):
                if method == "HEAD" and route.path.endswith("/events"):
                    continue  # GET reads the same stream to its end
                if method == "POST":
                    answer = browser.post(address, json={"category": category, **more} if more else {})
                else:
                    query = {"category": category, "version": "x"} if more else {}
                    answer = browser.request(method, address, params=query)
                    if answer.status_code == 400:  # the route takes no version
                        answer = browser.request(method, address, params={"category": category})
                headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
                told = re.sub(r'"request_id":"[0-9a-f]{32}"', "", answer.text)
                key = (method, route.path, "Zed" if target == world.zed_id else "own", bool(more))
                found[key] = (answer.status_code, headers, told)
    return found


def browser_of(world, token):
    browser = TestClient(
        build(world.settings),
        base_url="http://onoma.test",
        client=("203.0.113.9", 50000),
        raise_server_exceptions=False,
    )
    browser.post("/api/invitations", json={"token": token}).raise_for_status()
    return browser


def test_no_rpc_tells_an_annotator_what_another_does(world):
    bo = world.invite("Bo")
    walk_rpcs(world, bo.token, bo.annotator.annotator_id)  # Bo's own act is done by now
    before = walk_rpcs(world, bo.token, bo.annotator.annotator_id)
    world.name()
    after = walk_rpcs(world, bo.token, bo.annotator.annotator_id)
    assert after == before
    for key, told in after.items():
        for secret in (NAME, CONCEPT, ACT_ID, world.zed_id):
            assert secret not in str(told), key
    assert {service for service, *_ in after} == set(world.open_study.running.addresses)
    viewer = world.invite("Vi", pb.ROLE_VIEWER)
    seen = str(walk_rpcs(world, viewer.token, viewer.annotator.annotator_id))
    assert all(secret in seen for secret in world.secrets())


def test_no_route_tells_an_annotator_what_another_does(world):
    bo = world.invite("Bo")
    with browser_of(world, bo.token) as browser:
        walk_routes(world, browser, bo.annotator.annotator_id)
        before = walk_routes(world, browser, bo.annotator.annotator_id)
        world.name()
        after = walk_routes(world, browser, bo.annotator.annotator_id)
    assert after == before
    assert after["GET", f"{ANNOTATOR}/naming", "own", True][0] == 200
    assert after["POST", f"{ANNOTATOR}/acts", "own", True][0] == 200
    assert after["GET", f"{ANNOTATOR}/naming", "Zed", True][0] == 401
    for key, told in after.items():
        for secret in (NAME, CONCEPT, ACT_ID):
            assert secret not in str(told), key
    viewer = world.invite("Vi", pb.ROLE_VIEWER)
    with browser_of(world, viewer.token) as browser:
        seen = str(walk_routes(world, browser, viewer.annotator.annotator_id))
    assert all(secret in seen for secret in (NAME, CONCEPT, CONCEPT_ID, world.zed_id))
