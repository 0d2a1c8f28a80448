"""What an annotator may see of an activation, and its map as bytes."""

import base64
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from starlette.testclient import TestClient

from onoma.v1 import inference_pb2, naming_pb2, types_pb2
from services.gateway import pictures
from services.gateway.activations import Activations, stretch
from tests.services.gateway.standins import StandInInference, StandIns

ADA = "/api/studies/s1/annotators/ada"


def test_an_annotator_sees_no_x_feature_nor_anything_that_groups_by_it(ada: TestClient):
    columns = ada.get(f"{ADA}/activations", params={"category": "T-shirt/top"}).json()
    assert columns == {
        "activation_id": ["aa", "cc", "ff"],
        "image_id": ["image1", "image2", "image1"],
        "share": [0.25, 1.0, 0.75],
        "category": [],
        "x_feature": [],
        "x": [],
        "contribution": [],
        "map_sum": [],
    }


def test_maps_come_in_the_order_of_the_activations(ada: TestClient):
    listed = ada.get(f"{ADA}/activations", params={"category": "T-shirt/top"})
    query = {"category": "T-shirt/top", "version": listed.headers["etag"].strip('"')}
    answer = ada.get(f"{ADA}/maps", params=query)
    maps = np.load(io.BytesIO(answer.content))
    assert maps.dtype == np.uint8
    assert maps.tolist() == [[[0, 0], [0, 0]], [[0, 255], [128, 0]], [[0, 128], [255, 64]]]
    assert "immutable" in answer.headers["cache-control"]


def test_maps_that_a_screen_needs_first_come_alone_in_the_order_asked_for(ada: TestClient):
    query = {"category": "T-shirt/top", "version": "any", "activation_id": ["ff", "cc"]}
    answer = ada.get(f"{ADA}/maps", params=query)
    assert np.load(io.BytesIO(answer.content)).tolist() == [[[0, 128], [255, 64]], [[0, 255], [128, 0]]]
    assert "immutable" in answer.headers["cache-control"]


def test_more_maps_than_an_address_holds_are_refused(ada: TestClient):
    query = {"category": "T-shirt/top", "version": "any", "activation_id": ["ff"] * 501}
    answer = ada.get(f"{ADA}/maps", params=query)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("501 maps by their ids; at most 500 are given")


def test_the_activations_of_a_category_are_listed_once_until_there_are_more(
    ada: TestClient, stand_ins: StandIns
):
    query = {"category": "T-shirt/top"}
    first = ada.get(f"{ADA}/activations", params=query)
    ada.get(f"{ADA}/maps", params=query | {"version": first.headers["etag"].strip('"')})
    assert ada.get(f"{ADA}/activations", params=query).json() == first.json()
    assert stand_ins.attribution.activation_lists == 1
    stand_ins.naming.activation_count += 1
    assert ada.get(f"{ADA}/activations", params=query).json() == first.json()
    assert stand_ins.attribution.activation_lists == 2


def test_maps_of_another_version_are_not_found(ada: TestClient):
    answer = ada.get(f"{ADA}/maps", params={"category": "T-shirt/top", "version": "0" * 32})
    assert answer.status_code == 404
    assert "cache-control" not in answer.headers or "immutable" not in answer.headers["cache-control"]


def test_a_list_that_the_browser_has_is_not_sent_again(ada: TestClient):
    params = {"category": "T-shirt/top"}
    first = ada.get(f"{ADA}/activations", params=params)
    held = {"If-None-Match": first.headers["etag"]}
    again = ada.get(f"{ADA}/activations", params=params, headers=held)
    assert (again.status_code, again.content) == (304, b"")
    other = ada.get(f"{ADA}/activations", params={"category": "dress"}, headers=held)
    assert (other.status_code, other.headers["etag"] != first.headers["etag"]) == (200, True)
    ada.cookies.clear()
    assert ada.get(f"{ADA}/activations", params=params, headers=held).status_code == 401


def test_a_category_without_activations_has_no_maps(ada: TestClient):
    version = ada.get(f"{ADA}/activations", params={"category": "dress"}).headers["etag"].strip('"')
    answer = ada.get(f"{ADA}/maps", params={"category": "dress", "version": version})
    assert len(np.load(io.BytesIO(answer.content))) == 0


def test_an_annotator_gets_pictures_as_the_studys_network_saw_them(ada: TestClient):
    answer = ada.get(f"{ADA}/images/image1")
    assert answer.content == b"image1 as net sees it"
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]


def test_a_screen_of_pictures_comes_in_one_answer(ada: TestClient):
    answer = ada.get(f"{ADA}/images", params={"image_id": ["image1", "image2", "image1"]})
    seen = [
        f"data:image/png;base64,{base64.b64encode(f'image{n} as net sees it'.encode()).decode()}"
        for n in (1, 2)
    ]
    assert answer.json() == {"image1": seen[0], "image2": seen[1]}
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("count", [0, 97])
def test_too_many_pictures_in_one_answer_are_refused(ada: TestClient, count):
    answer = ada.get(f"{ADA}/images", params={"image_id": [f"image{n}" for n in range(count)]})
    assert answer.status_code == 400
    assert f"{count} pictures" in answer.json()["message"]


def test_a_screen_with_a_picture_that_the_study_does_not_show_is_not_found(ada: TestClient):
    answer = ada.get(f"{ADA}/images", params={"image_id": ["image1", "of-another-data-set"]})
    assert (answer.status_code, "of-another-data-set" in answer.json()["message"]) == (404, True)


def test_the_owner_gets_the_pictures_behind_results(owner: TestClient):
    assert owner.get("/api/studies/s1/images/image1").content == b"image1 as net sees it"


PICTURES = ("/api/studies/s1/images", f"{ADA}/images")


def test_pictures_that_the_study_does_not_show_are_not_found(owner: TestClient):
    owner.post("/api/invitations", json={"token": "ada-token"}).raise_for_status()
    for path in PICTURES:
        assert owner.get(f"{path}/bare").status_code == 200
        answer = owner.get(f"{path}/of-another-data-set")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


def test_the_pictures_of_a_study_are_listed_once(owner: TestClient, stand_ins: StandIns):
    for image in ("image1", "image2", "unknown", "unknown"):
        owner.get(f"/api/studies/s1/images/{image}")
    assert stand_ins.attribution.image_lists == 1


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """Ids of the pictures that inference was asked for."""
    ids: list[str] = []
    get_images = StandInInference.GetImages
    monkeypatch.setattr(
        StandInInference, "GetImages", lambda *given: ids.extend(given[1].image_ids) or get_images(*given)
    )
    return ids


def test_a_picture_is_made_once_for_all_who_look_at_it(made, owner: TestClient):
    owner.post("/api/invitations", json={"token": "ada-token"}).raise_for_status()
    for path in PICTURES:
        assert owner.get(f"{path}/image1").content == b"image1 as net sees it"
    owner.get(f"{ADA}/images", params={"image_id": ["image2", "image1"]}).raise_for_status()
    assert made == ["image1", "image2"]


@pytest.fixture
def memory_for_two(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_KEPT_BYTES", 2 * len(b"image1 as net sees it"))


@pytest.mark.usefixtures("memory_for_two")
def test_pictures_that_take_too_much_memory_are_dropped_oldest_first(made, ada: TestClient):
    for image in ("image1", "image2", "image1", "bare", "image1", "image2"):
        ada.get(f"{ADA}/images/{image}").raise_for_status()
    assert made == ["image1", "image2", "bare", "image2"]


def test_pictures_that_came_later_are_found_after_a_while(
    owner: TestClient, stand_ins: StandIns, monkeypatch
):
    monkeypatch.setattr(pictures, "LISTED_AGAIN_S", 0.0)
    assert owner.get("/api/studies/s1/images/new").status_code == 404
    stand_ins.attribution.images.append("new")
    assert owner.get("/api/studies/s1/images/new").status_code == 200


@given(arrays(np.float16, (3, 4, 5), elements=st.floats(0, 1, width=16, allow_subnormal=False)))
def test_every_map_is_stretched_to_its_own_full_range(maps: np.ndarray):
    stretched = stretch(maps)
    for before, after in zip(maps, stretched, strict=True):
        flat = before.min() == before.max()
        assert (after.min(), after.max()) == ((0, 0) if flat else (0, 255))
        assert (np.diff(after.ravel()[np.argsort(before, axis=None)].astype(int)) >= 0).all()


def test_a_map_that_is_not_a_number_shows_as_empty():
    assert not stretch(np.full((1, 2, 2), np.nan, np.float16)).any()


@pytest.mark.parametrize("kind", ["activations", "pictures"])
def test_what_is_slow_to_list_holds_up_no_other_study(kind: str):
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def stream(self, _backend, rpc, request, **_options):
            if rpc == "GetImages":
                yield inference_pb2.GetImagesResponse()
                return
            if request.study_id == "slow":
                begun.set()
                go_on.wait(20)
            images = types_pb2.ExplainedImageColumns(image_id=["image"])
            yield SimpleNamespace(activations=types_pb2.ActivationColumns(), images=images)

    def ask(study_id: str) -> None:
        listed.of(naming_pb2.Study(study_id=study_id), "dress" if kind == "activations" else ["image"], "r1")

    listed = Activations(Slow()) if kind == "activations" else pictures.Pictures(Slow())
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(ask, "slow") for _ in range(2)]
        assert begun.wait(20)
        try:
            pool.submit(ask, "quick").result(20)
            assert not any(one.done() for one in slow)
        finally:
            go_on.set()
        for one in slow:
            one.result(20)
