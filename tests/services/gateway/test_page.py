"""The page, built or not."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.testclient import TestClient

from services.gateway.page import page_routes


def browser(folder: Path) -> TestClient:
    return TestClient(Starlette(routes=page_routes(folder)))


def test_without_a_build_the_page_says_how_to_make_one(tmp_path: Path):
    answer = browser(tmp_path).get("/")
    assert answer.status_code == 503
    assert "make web" in answer.text


def test_every_address_of_the_page_is_the_same_document(tmp_path: Path):
    (tmp_path / "index.html").write_text("<title>Onoma</title>")
    client = browser(tmp_path)
    for path in ("/", "/studies/s1", "/name", "/name/s1/ada"):
        assert client.get(path).text == "<title>Onoma</title>"


def test_an_address_that_is_none_of_the_page_is_not_found_in_words_people_read(tmp_path: Path):
    (tmp_path / "index.html").write_text("<title>Onoma</title>")
    client = browser(tmp_path)
    for path in ("/elsewhere", "/%zz", "/studies/s1/more"):
        answer = client.get(path, headers={"Accept": "text/html,*/*;q=0.8"})
        assert (answer.status_code, answer.text) == (404, "<title>Onoma</title>")
        assert client.get(path).text != "<title>Onoma</title>"
    answer = client.get("/api/elsewhere", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.text) == (404, "Not Found")


def test_hashed_files_are_never_asked_for_twice(tmp_path: Path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "index-1a2b.js").write_text("1")
    answer = browser(tmp_path).get("/assets/index-1a2b.js")
    assert "immutable" in answer.headers["cache-control"]


def test_files_outside_the_build_are_out_of_reach(tmp_path: Path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "assets").mkdir()
    assert browser(tmp_path).get("/assets/%2e%2e/secret").status_code == 404
