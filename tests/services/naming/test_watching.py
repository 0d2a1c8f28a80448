"""The stream of a naming's states."""

from onoma.v1 import naming_pb2 as pb
from tests.services.naming.conftest import create


def watch(desk):
    return desk.server.calls.WatchNaming(pb.WatchNamingRequest(**desk.key()), timeout=60)


def test_a_watcher_sees_the_naming_now_and_after_an_act(desk):
    stream = watch(desk)
    assert next(stream).naming == desk.naming()
    after = desk.act(**create("c1"))
    assert next(stream).naming == after
    stream.cancel()


def test_a_watcher_too_many_gets_the_present_state_and_the_end(desk):
    streams = [watch(desk) for _ in range(128)]
    for stream in streams:
        next(stream)
    desk.act(**create("c1"))
    for stream in streams:
        assert next(stream).naming.revision == 1  # each holds its place by now
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
        assert next(stream).naming.revision == revision + 1
        stream.cancel()
