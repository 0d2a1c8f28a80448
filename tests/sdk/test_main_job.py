"""The whole road over the client, on synthetic pictures: with SQLite and a directory, and with PostgreSQL and MinIO."""

import json
import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from deploy.local.minio import MinioServer
from deploy.local.postgresql import NoPostgresql, running_postgresql
from onoma.client import Conflict, FailedPrecondition, NotFound
from onoma.v1 import analytics_pb2, naming_pb2
from tests.conftest import OpenStudy, study_with_maps
from tests.minio_fixture import MINIO


@pytest.fixture(scope="session")
def study_on_servers(
    minio_server: MinioServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OpenStudy]:
    """What `open_study` is, on a PostgreSQL of its own (tests of tables empty the shared one) and on MinIO."""
    store = minio_server.settings.model_dump(exclude={"data_dir"}, exclude_unset=True)
    try:
        with (
            running_postgresql() as database,
            study_with_maps(
                tmp_path_factory.mktemp("on-servers"),
                database_url=database.url,
                **store | {"s3_bucket": "main-job"},
            ) as study,
        ):
            yield study
    except NoPostgresql as error:
        pytest.skip(str(error))


@pytest.fixture(params=["sqlite-directory", pytest.param("postgresql-minio", marks=MINIO)])
def pair(request: pytest.FixtureRequest) -> str:
    """Where rows and objects are kept."""
    return request.param


@pytest.fixture
def open_study(pair: str, open_study: OpenStudy, request: pytest.FixtureRequest) -> OpenStudy:
    """The study of either pair: every test runs on both."""
    return open_study if pair == "sqlite-directory" else request.getfixturevalue("study_on_servers")


def _annotator(study: OpenStudy) -> naming_pb2.Annotator:
    return study.client.invite_annotator(study.study.study_id, f"annotator {uuid.uuid4()}").annotator


def _category_with_maps(study: OpenStudy, at_least: int = 4) -> str:
    for category in study.study.categories:
        if len(study.client.list_activations(study.study.study_id, category).activation_id) >= at_least:
            return category
    pytest.fail("no category of the synthetic study has enough significant activations")


def _create(name: str, activation_ids: list[str]) -> naming_pb2.Command:
    create = naming_pb2.CreateConcept(concept_id=str(uuid.uuid4()), name=name, activation_ids=activation_ids)
    return naming_pb2.Command(create=create)


def test_every_map_of_an_active_x_feature_sums_to_one(open_study: OpenStudy) -> None:
    columns = open_study.client.list_activations(open_study.study.study_id)
    assert len(columns.activation_id) > 0
    np.testing.assert_allclose(columns.map_sum, 1, atol=1e-3)


def test_stored_maps_hold_the_mass_that_was_computed(open_study: OpenStudy) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    ids = list(client.list_activations(study_id).activation_id)
    batches = list(client.get_maps(study_id, ids))
    assert [i for batch in batches for i in batch.activation_id] == ids
    for batch in batches:
        values = np.frombuffer(batch.values, "<f2").astype(np.float32)
        maps = values.reshape(-1, batch.height, batch.width) * np.array(batch.scale)[:, None, None]
        np.testing.assert_allclose(maps.sum((1, 2)), 1, atol=2e-3)


def test_shares_of_significant_activations_reach_ninety_per_cent(open_study: OpenStudy) -> None:
    columns = open_study.client.list_activations(open_study.study.study_id)
    held: dict[tuple[str, str], float] = {}
    for key, share in zip(zip(columns.category, columns.image_id, strict=True), columns.share, strict=True):
        held[key] = held.get(key, 0) + share
    assert min(held.values()) >= 0.9 - 1e-5


def test_naming_an_image_explains_it_in_those_words(open_study: OpenStudy) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    category = _category_with_maps(open_study)
    annotator = _annotator(open_study)
    naming = client.get_naming(study_id, annotator.annotator_id, category)
    naming = client.act(naming, _create("outline", list(naming.pool)))
    columns = client.list_activations(study_id, category)
    response = client.explain_image(study_id, annotator.annotator_id, image_id=columns.image_id[0])
    assert list(response.names) == ["outline"]
    assert response.in_study
    assert response.model_input_png.startswith(b"\x89PNG")


def test_a_picture_outside_the_study_gets_inferred_names(open_study: OpenStudy) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    category = _category_with_maps(open_study)
    annotator = _annotator(open_study)
    naming = client.get_naming(study_id, annotator.annotator_id, category)
    client.act(naming, _create("shape", list(naming.pool)))
    picture = next((open_study.images / "train" / category).iterdir()).read_bytes()
    response = client.explain_image(study_id, annotator.annotator_id, content=picture, category=category)
    assert not response.in_study
    assert set(response.names) <= {"shape", "other"}


def test_coverage_and_summary_follow_the_naming(open_study: OpenStudy) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    category = _category_with_maps(open_study)
    annotator = _annotator(open_study)
    naming = client.get_naming(study_id, annotator.annotator_id, category)
    client.act(naming, _create("all of it", list(naming.pool)))
    mine = [c for c in client.get_coverage(study_id, category) if c.annotator_id == annotator.annotator_id]
    assert [(c.activation, c.partial, c.complete) for c in mine] == [(1, 1, 1)]
    summary = client.get_summary(study_id, annotator.annotator_id, category)
    assert [(list(row.names), row.share) for row in summary.rows] == [(["all of it"], 1)]


def test_unnamed_activations_read_as_other_or_unlabeled(open_study: OpenStudy) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    category = _category_with_maps(open_study)
    annotator_id = _annotator(open_study).annotator_id
    named_only = client.get_summary(study_id, annotator_id, category)
    with_other = client.get_summary(
        study_id, annotator_id, category, analytics_pb2.SUMMARY_READING_WITH_OTHER
    )
    assert [list(row.names) for row in named_only.rows] == [["unlabeled"]]
    assert [list(row.names) for row in with_other.rows] == [["other"]]


def test_merge_discard_and_undo_through_the_client(open_study: OpenStudy) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    naming = client.get_naming(study_id, _annotator(open_study).annotator_id, _category_with_maps(open_study))
    pool = list(naming.pool)
    naming = client.act(naming, _create("left", pool[:2]))
    naming = client.act(naming, _create("right", pool[2:3]))
    left, right = naming.concepts
    merge = naming_pb2.MergeConcepts(source_concept_id=right.concept_id, target_concept_id=left.concept_id)
    merged = client.act(naming, naming_pb2.Command(merge=merge))
    assert [c.name for c in merged.concepts] == ["left"]
    assert sorted(merged.concepts[0].activation_ids) == sorted(pool[:3])
    discard = naming_pb2.DiscardActivations(activation_ids=pool[3:4], reason=naming_pb2.DISCARD_REASON_NOISE)
    discarded = client.act(merged, naming_pb2.Command(discard=discard))
    assert pool[3] not in discarded.pool
    once = client.act(discarded, naming_pb2.Command(undo=naming_pb2.UndoAct()))
    twice = client.act(once, naming_pb2.Command(undo=naming_pb2.UndoAct()))
    assert list(twice.concepts) == list(naming.concepts)
    assert list(twice.pool) == list(naming.pool)


def test_a_stale_revision_is_refused_with_the_present_naming(open_study: OpenStudy) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    stale = client.get_naming(study_id, _annotator(open_study).annotator_id, _category_with_maps(open_study))
    client.act(stale, _create("first", []))
    with pytest.raises(Conflict) as conflict:
        client.act(stale, _create("second", []))
    assert conflict.value.present is not None
    assert [c.name for c in conflict.value.present.concepts] == ["first"]


def test_a_naming_exported_and_imported_is_the_same_naming(open_study: OpenStudy) -> None:
    client, study_id = open_study.client, open_study.study.study_id
    category = _category_with_maps(open_study)
    annotator = _annotator(open_study)
    naming = client.get_naming(study_id, annotator.annotator_id, category)
    client.act(naming, _create("kept", list(naming.pool)[:3]))
    document = json.loads(client.export_namings(study_id, [annotator.annotator_id]))
    assert document["format"] == "onoma-namings"
    (exported,) = document["namings"].values()
    assert exported[category]["concepts"][0]["name"] == "kept"


def test_a_study_without_maps_cannot_be_opened(open_study: OpenStudy) -> None:
    study = open_study.client.create_study("empty", "tiny", "shapes", "tiny", ["circle"])
    with pytest.raises(FailedPrecondition, match="maps"):
        open_study.client.open_study(study.study_id)


def test_unknown_things_are_not_found_by_name(open_study: OpenStudy) -> None:
    for call in (
        lambda: open_study.client.get_dataset("nowhere"),
        lambda: open_study.client.get_model("nobody"),
        lambda: open_study.client.get_study("nothing"),
    ):
        with pytest.raises(NotFound, match=r"no(where|body|thing)"):
            call()


def test_computing_maps_again_writes_nothing_twice(open_study: OpenStudy) -> None:
    before = open_study.client.list_activations(open_study.study.study_id)
    open_study.client.compute_maps(open_study.study.study_id).wait()
    assert open_study.client.list_activations(open_study.study.study_id) == before
