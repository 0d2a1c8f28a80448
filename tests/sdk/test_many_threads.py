"""One client in many threads, as async programs use it."""

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from onoma.v1 import naming_pb2
from tests.conftest import OpenStudy
from tests.docs.test_examples import blocks

THREADS = 16


def test_many_threads_act_through_one_client(open_study: OpenStudy) -> None:
    client, study = open_study.client, open_study.study
    people = [client.invite_annotator(study.study_id, f"annotator {uuid.uuid4()}") for _ in range(THREADS)]
    (category, *_) = study.categories

    def act(annotator_id: str) -> list[str]:
        naming = client.get_naming(study.study_id, annotator_id, category)
        made = naming_pb2.CreateConcept(concept_id="c", name=annotator_id)
        client.act(naming, naming_pb2.Command(create=made))
        return [one.name for one in client.get_naming(study.study_id, annotator_id, category).concepts]

    ids = [one.annotator.annotator_id for one in people]
    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(act, ids)) == [[one] for one in ids]


@pytest.mark.usefixtures("onoma")
def test_an_async_program_waits_for_many_calls_at_once_as_the_page_says(open_study: OpenStudy) -> None:
    [block] = blocks("decisions/one-client.md", "python")
    given: dict[str, Any] = {}
    exec(compile(block, "one-client.md", "exec"), given)
    assert open_study.study.name in asyncio.run(given["names_of_studies"]())
