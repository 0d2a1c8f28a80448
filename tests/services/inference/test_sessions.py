"""Networks in use: opened once, the one not used for longest closed; the sessions themselves are stand-ins."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.inference import sessions
from services.inference.batching import BatchLimits

CALLERS = 20
DEADLINE_S = 30
IMAGE = np.zeros((1, 1, 1, 1), np.float32)


@pytest.fixture
def opened(monkeypatch):
    """Names of the models that were opened, in order."""
    names = []
    monkeypatch.setattr(sessions, "open_stored", lambda store, name, key: names.append(name) or name)
    monkeypatch.setattr(
        sessions, "run", lambda name, images: (images[:, 0, 0], np.array([[name]] * len(images)))
    )
    return names


@pytest.fixture
def networks(opened):
    found = sessions.Sessions(None, BatchLimits(images=8, wait_s=0, queue_images=64))
    yield found
    found.close()


def answered_by(networks, name):
    return networks.submit(name, "key", IMAGE).result(DEADLINE_S)[1][0, 0]


def test_a_network_that_many_callers_want_at_once_is_opened_once(networks, opened):
    together = threading.Barrier(CALLERS)

    def call(_):
        together.wait(DEADLINE_S)
        return answered_by(networks, "a")

    with ThreadPoolExecutor(CALLERS) as pool:
        assert set(pool.map(call, range(CALLERS))) == {"a"}
    assert opened == ["a"]


def test_the_network_not_used_for_longest_is_closed(networks, opened):
    for name in ("a", "b", "c", "d", "a", "e"):
        assert answered_by(networks, name) == name
    assert opened == ["a", "b", "c", "d", "e"]
    answered_by(networks, "a")
    assert opened[-1] == "e"
    answered_by(networks, "b")
    assert opened[-1] == "b"


def test_callers_of_more_networks_than_are_open_are_all_answered(networks, opened):
    names = "abcdef" * 50
    with ThreadPoolExecutor(CALLERS) as pool:
        assert list(pool.map(lambda name: answered_by(networks, name), names)) == list(names)


def test_a_network_that_cannot_be_opened_can_be_called_again(networks, monkeypatch):
    def lost(*_):
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(sessions, "open_stored", lost)
        with pytest.raises(OSError, match="gone"):
            networks.submit("a", "key", IMAGE)
    assert answered_by(networks, "a") == "a"
