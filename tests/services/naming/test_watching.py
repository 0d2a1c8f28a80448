"""The stream of a naming's states."""

import time
from types import SimpleNamespace

import grpc
import pytest

from onoma.v1 import naming_pb2 as pb
from services.naming import guests, invitations, service
from tests.services.naming.conftest import ACTIVATIONS, Desk, create, taken


def watch(desk):
    return desk.server.calls.WatchNaming(pb.WatchNamingRequest(**desk.key()), timeout=60)


def test_a_watcher_sees_the_naming_now_and_after_an_act(desk):
    stream = watch(desk)
    empty = next(stream).naming
    assert empty == desk.naming()
    after = desk.act(**create("c1"))
    assert taken(empty, next(stream)) == after
    stream.cancel()


def test_what_several_acts_have_changed_may_come_at_once(desk, open_server):
    """A watcher at another replica finds them by looking."""
    elsewhere = Desk(open_server(desk.server.data_dir), desk.study_id, desk.annotator_id)
    desk.act(**create("c1", ACTIVATIONS["boat"][:3]))
    stream = watch(elsewhere)
    seen = next(stream).naming
    desk.act(**create("c2", ACTIVATIONS["boat"][1:2]))
    after = desk.act(delete=pb.DeleteConcept(concept_id="c1"))
    while seen.revision < after.revision:
        seen = taken(seen, next(stream))
    assert seen == after
    stream.cancel()


def test_a_watcher_too_many_gets_the_present_state_and_the_end(desk):
    streams = [watch(desk) for _ in range(128)]
    for stream in streams:
        next(stream)
    desk.act(**create("c1"))
    for stream in streams:
        assert next(stream).change.revision == 1  # each holds its place by now
    assert [answer.naming.revision for answer in watch(desk)] == [1]
    for stream in streams:
        stream.cancel()


def test_a_stream_ends_by_itself(desk, monkeypatch):
    monkeypatch.setattr("services.naming.service._WATCH_S", 0.0)
    assert len(list(watch(desk))) == 1


def test_watchers_that_go_leave_their_places_to_others(desk):
    for revision in range(8):
        stream = watch(desk)
        next(stream)
        desk.act(**create(f"c{revision}"))
        assert next(stream).change.revision == revision + 1
        stream.cancel()


def left_of(stream):
    """What a stream still says, and how it ends."""
    messages = []
    try:
        for message in stream:
            messages.append(message)
    except grpc.RpcError as error:
        return messages, error.code(), error.details()
    return messages, grpc.StatusCode.OK, ""


def watched_by(server, desk, token, timeout_s=20):
    request = pb.WatchNamingRequest(**desk.key())
    metadata = (("authorization", f"Bearer {token}"),)
    stream = server.calls.WatchNaming(request, timeout=timeout_s, metadata=metadata)
    next(stream)
    return stream


def revoke(server, desk):
    request = pb.RevokeInvitationRequest(study_id=desk.study_id, annotator_id=desk.annotator_id)
    server.calls.RevokeInvitation(request)


def invited(server, study):
    answer = server.invite(study.study_id)
    return Desk(server, study.study_id, answer.annotator.annotator_id), answer.token


@pytest.mark.parametrize("where", ["here", "by another replica"])
def test_a_stream_ends_when_its_link_is_revoked(server, study, open_server, monkeypatch, where):
    if where == "here":
        monkeypatch.setattr(
            service, "_LOOK_S", 60.0
        )  # over the stream's deadline: rung, not found by looking
    desk, token = invited(server, study)
    stream = watched_by(server, desk, token)
    revoke(server if where == "here" else open_server(server.data_dir), desk)
    messages, code, words = left_of(stream)
    assert (messages, code) == ([], grpc.StatusCode.UNAUTHENTICATED)
    assert "lets nobody in" in words


def test_a_stream_ends_when_its_link_expires(server, study, monkeypatch):
    monkeypatch.setattr(invitations, "_DAY_S", 5.0 / invitations.LINK_DAYS)
    desk, token = invited(server, study)
    messages, code, _ = left_of(watched_by(server, desk, token))
    assert (messages, code) == ([], grpc.StatusCode.UNAUTHENTICATED)


def test_a_stream_goes_on_through_what_does_not_concern_it(server, study):
    desk, token = invited(server, study)
    stream = watched_by(server, desk, token)
    revoke(server, Desk(server, study.study_id, server.invite(study.study_id, "Bo").annotator.annotator_id))
    desk.act(**create("c1"))
    assert next(stream).change.revision == 1
    stream.cancel()


def test_tokens_in_use_are_looked_up_together(server, study, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(guests, "time", SimpleNamespace(monotonic=lambda: now))
    asked = []
    guests_of = invitations.guests_of
    monkeypatch.setattr(
        invitations,
        "guests_of",
        lambda opened, tokens: asked.append(len(tokens)) or guests_of(opened, tokens),
    )
    desks = [server.invite(study.study_id, f"annotator {number}") for number in range(5)]

    def all_read():
        for one in desks:
            request = pb.GetNamingRequest(
                study_id=study.study_id, annotator_id=one.annotator.annotator_id, category="boat"
            )
            server.calls.GetNaming(request, metadata=(("authorization", f"Bearer {one.token}"),))

    all_read()
    all_read()
    assert asked == [1] * 5
    now += guests._REMEMBERED_S
    all_read()
    assert asked == [1] * 5 + [5]
