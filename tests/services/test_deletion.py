"""What is deleted for good: only what nothing needs, whole, and with nothing left behind."""

import asyncio
import dataclasses
import threading
import time
import uuid
from collections.abc import Iterator
from functools import partial

import pytest

from onoma.client import Client, FailedPrecondition, NotFound, OnomaError
from onoma.v1 import inference_pb2, naming_pb2
from services.doctor import look_over
from services.gateway import reports
from services.gateway.reports import Reports
from services.inference.tables import DatasetImage, FeatureShard, Image
from services.runtime.database import open_database, session
from services.runtime.job_table import RUNNING, Job
from services.runtime.processes import process_name
from tests.services.installations import CATEGORY, Installation, installation, objects, rows, running
from tests.short_fits import short_fits

__all__ = ["installation"]  # a fixture


@pytest.fixture(scope="module")
def client(installation: Installation) -> Iterator[Client]:
    with running(installation.settings) as client:
        yield client


def study_like(client: Client, installation: Installation, name: str) -> str:
    """Id of another study with maps, in draft."""
    study = client.create_study(name, "tiny", "shapes", "tiny", [CATEGORY, "cross"])
    client.compute_maps(study.study_id).wait()
    return study.study_id


def named_all(client: Client, study_id: str, person: str) -> naming_pb2.InviteAnnotatorResponse:
    """Invites somebody, who puts everything of a category into one concept."""
    invited = client.invite_annotator(study_id, person)
    naming = client.get_naming(study_id, invited.annotator.annotator_id, CATEGORY)
    create = naming_pb2.CreateConcept(
        concept_id=uuid.uuid4().hex, name=f"by {person}", activation_ids=naming.pool
    )
    client.act(naming, naming_pb2.Command(create=create))
    return invited


def of_study(installation: Installation, study_id: str) -> list[str]:
    """Tables with a row that names a study; those of jobs stay."""
    found = rows(installation.settings)
    return [table for table in found if not table.endswith(".job") and study_id in "".join(found[table])]


def test_what_is_needed_is_not_deleted(installation: Installation, client: Client) -> None:
    before = rows(installation.settings)
    for delete, name, needed_by in (
        (client.delete_dataset, "shapes", "the studies 'shapes'"),
        (client.delete_model, "tiny", "the studies 'shapes'"),
        (client.delete_xnn_set, "tiny", "the studies 'shapes'"),
        (client.delete_study, installation.study_id, "close it first"),
    ):
        with pytest.raises(FailedPrecondition, match=needed_by):
            delete(name)
    for delete in (client.delete_dataset, client.delete_model, client.delete_xnn_set, client.delete_study):
        with pytest.raises(NotFound, match="nothing-here"):
            delete("nothing-here")
    assert rows(installation.settings) == before


@pytest.mark.parametrize(
    ("service", "kind", "params"),
    [
        ("inference", "train_xnn", {"name": "more", "model": "tiny", "dataset": "copy"}),
        ("inference", "import_dataset", {"name": "copy"}),
        ("attribution", "compute_maps", {"study_id": "a study"}),
    ],
)
def test_nothing_is_deleted_under_a_job_at_work(
    installation: Installation, client: Client, service: str, kind: str, params: dict[str, str]
) -> None:
    client.upload_dataset("copy", ["a", "b"], pictures(client))
    engine = open_database(installation.settings, service)
    job = Job(
        job_id=uuid.uuid4().hex,
        kind=kind,
        params=params,
        state=RUNNING,
        owner=process_name(),
        lease_until=time.time() + 60,
    )
    with session(engine) as opened:
        opened.add(job)
        opened.flush()
        opened.expunge(job)
    delete = {
        "inference": partial(client.delete_dataset, "copy"),
        "attribution": partial(client.delete_study, "a study"),
    }[service]
    try:
        with pytest.raises(FailedPrecondition, match=f"onoma job cancel {job.job_id[:8]}"):
            delete()
    finally:
        with session(engine) as opened:
            opened.delete(opened.get_one(Job, job.job_id))
        engine.dispose()
    client.delete_dataset("copy")


def pictures(client: Client):
    """Some of the pictures of "shapes", as those of another data set."""
    for index, image in enumerate(list(client.list_images("shapes"))[:10]):
        content = client.get_image(image.image_id).content
        image.class_name = "ab"[index % 2]
        yield image, content


def test_pictures_of_another_data_set_and_what_was_computed_of_them_stay(
    installation: Installation, client: Client
) -> None:
    before = rows(installation.settings)
    client.upload_dataset("copy", ["a", "b"], pictures(client))
    assert rows(installation.settings) != before
    client.delete_dataset("copy")
    assert rows(installation.settings) == before
    assert before["inference.feature_shard"]


def test_what_nobody_would_look_up_goes_with_it(installation: Installation, client: Client) -> None:
    engine = open_database(installation.settings, "inference")
    with session(engine) as opened:
        opened.add(FeatureShard(cache_key="of content that was replaced", shard=0, object_key="0" * 64))
    engine.dispose()
    client.upload_dataset("copy", ["a", "b"], pictures(client))
    client.delete_dataset("copy")
    assert "of content that was replaced" not in "".join(
        rows(installation.settings)["inference.feature_shard"]
    )


def test_what_imports_have_left_that_never_ended_is_deleted_by_their_name(
    installation: Installation, client: Client
) -> None:
    before = rows(installation.settings)
    engine = open_database(installation.settings, "inference")
    with session(engine) as opened:
        opened.add(Image(image_id="1" * 64, height=1, width=1, notes=[]))
        opened.flush()
        opened.add(
            DatasetImage(
                import_id="cut off",
                path="a/1.png",
                dataset="private",
                part="train",
                class_index=0,
                image_id="1" * 64,
            )
        )
    engine.dispose()
    client.delete_dataset("private")
    assert rows(installation.settings) == before
    with pytest.raises(NotFound, match="private"):
        client.delete_dataset("private")


def test_what_was_deleted_is_made_again_by_the_same_requests(
    installation: Installation, client: Client
) -> None:
    folder = str(installation.settings.data_dir.parent / "shapes")
    for _ in range(2):
        client.import_dataset("copy", folder, request_id="same-import").wait()
        settings = inference_pb2.XnnSettings(epochs=1)
        with short_fits():
            client.train_xnn("copy", "tiny", "copy", settings=settings, request_id="same-training").wait()
        study = client.create_study("copy", "tiny", "copy", "copy", [CATEGORY], request_id="same-study")
        client.compute_maps(study.study_id, request_id="same-maps").wait()
        assert client.get_study("copy").activation_count > 0
        client.delete_study(study.study_id)
        client.delete_xnn_set("copy")
        client.delete_dataset("copy")


def test_deletions_and_imports_at_once_leave_what_belongs_to_somebody(
    installation: Installation, client: Client
) -> None:
    images = [(image, content) for image, content in pictures(client)]
    failures: list[Exception] = []

    def upload_and_delete(name: str) -> None:
        try:
            for _ in range(8):
                assert list(client.upload_dataset(name, ["a", "b"], images).train_counts) != []
                client.delete_dataset(name)
        except Exception as error:  # noqa: BLE001  looked at below
            failures.append(error)

    before = rows(installation.settings)
    threads = [threading.Thread(target=upload_and_delete, args=(f"copy-{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert rows(installation.settings) == before


def test_a_kept_report_is_written_anew_once_somebody_in_it_was_erased(
    installation: Installation, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_id = installation.study_id
    ada = named_all(client, study_id, "Ada Lovelace").annotator
    addresses = {
        f"{name}_address": address
        for name, address in dataclasses.asdict(client._transport._addresses).items()
    }
    kept = Reports(installation.settings.model_copy(update=addresses))
    study = client.get_study(study_id)

    async def before_and_after() -> list[reports.Report]:
        before = await kept.of(study, is_fresh=False)
        client.delete_annotator(study_id, ada.annotator_id)
        monkeypatch.setattr(reports, "_LOOK_S", 0.0)
        return [before, await kept.of(study, is_fresh=False)]

    before, after = asyncio.run(before_and_after())
    assert b"Ada Lovelace" in before["index.html"]
    assert b"Ada Lovelace" not in b"".join(after.values())


def test_an_annotator_goes_with_their_work_and_others_stay(
    installation: Installation, client: Client
) -> None:
    study_id = installation.study_id
    ada, bob = (named_all(client, study_id, person) for person in ("Ada", "Bob"))
    of_bob = client.get_naming(study_id, bob.annotator.annotator_id, CATEGORY)
    client.delete_annotator(study_id, ada.annotator.annotator_id)
    assert of_study(installation, ada.annotator.annotator_id) == []
    with pytest.raises(NotFound):
        client.get_naming(study_id, ada.annotator.annotator_id, CATEGORY)
    with pytest.raises(NotFound):
        client.delete_annotator(study_id, ada.annotator.annotator_id)
    assert client.get_naming(study_id, bob.annotator.annotator_id, CATEGORY) == of_bob
    again = client.invite_annotator(study_id, "Ada").annotator
    assert again.annotator_id != ada.annotator.annotator_id
    assert (again.named_count, again.discarded_count) == (0, 0)
    assert [person.display_name for person in client.list_annotators(study_id)] == ["Bob", "Ada"]
    for person in client.list_annotators(study_id):
        client.delete_annotator(study_id, person.annotator_id)
    assert client.list_annotators(study_id) == []


def test_who_acts_while_they_are_deleted_is_told_that_nobody_is_there(
    installation: Installation, client: Client
) -> None:
    study_id = installation.study_id
    annotator_id = client.invite_annotator(study_id, "Eve").annotator.annotator_id
    has_acted = threading.Event()
    ended: list[OnomaError] = []

    def act() -> None:
        naming = client.get_naming(study_id, annotator_id, CATEGORY)
        try:
            for number in range(10_000):
                create = naming_pb2.CreateConcept(concept_id=f"c{number}", name=f"concept {number}")
                naming = client.act(naming, naming_pb2.Command(create=create))
                has_acted.set()
        except OnomaError as error:
            ended.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    assert has_acted.wait(30)
    client.delete_annotator(study_id, annotator_id)
    thread.join(30)
    assert [type(error) for error in ended] == [NotFound]
    assert of_study(installation, annotator_id) == []


def test_a_study_goes_whole_and_others_stay(installation: Installation, client: Client) -> None:
    kept = len(of_study(installation, installation.study_id))
    study_id = study_like(client, installation, "second")
    client.open_study(study_id)
    invited = named_all(client, study_id, "Ada")
    client.overrule_labels(study_id, "eye", "beak", naming_pb2.LABEL_OUTCOME_NONE, "Zoe")
    client.import_namings(study_id, client.export_namings(study_id).replace('"Ada"', '"Bob"'))
    client.close_study(study_id)
    assert len(of_study(installation, study_id)) == 13
    client.delete_study(study_id)
    assert of_study(installation, study_id) == []
    assert len(of_study(installation, installation.study_id)) == kept
    assert study_id not in [study.study_id for study in client.list_studies()]
    for ask in (client.get_study, client.delete_study, client.list_annotators):
        with pytest.raises(NotFound):
            ask(study_id)
    with pytest.raises(FailedPrecondition, match="no maps"):
        client.list_activations(study_id)
    with pytest.raises(NotFound, match="does not let anyone in"):
        client.accept_invitation(invited.token)


def test_a_deletion_that_was_cut_off_is_found_and_ended_by_another(
    installation: Installation, client: Client
) -> None:
    study_id = study_like(client, installation, "third")
    client._transport.call("naming", "ForgetStudy", naming_pb2.ForgetStudyRequest(study_id=study_id))
    left = {"activation", "explained_image", "map_run", "work_shard"}
    assert set(of_study(installation, study_id)) == {f"attribution.{table}" for table in left}
    [problem] = look_over(installation.settings).problems
    assert f"onoma study delete {study_id}" in problem
    client.delete_study(study_id)
    assert of_study(installation, study_id) == []
    assert look_over(installation.settings).problems == []


def test_everything_can_be_deleted_and_nothing_is_left(installation: Installation, client: Client) -> None:
    client.close_study(installation.study_id)
    client.delete_study(installation.study_id)
    for delete, name in ((client.delete_dataset, "shapes"), (client.delete_model, "tiny")):
        with pytest.raises(FailedPrecondition, match="needed by the xNNs of tiny"):
            delete(name)
    client.delete_xnn_set("tiny")
    client.delete_model("tiny")
    client.delete_dataset("shapes")
    left = {table for table, found in rows(installation.settings).items() if found}
    assert {table.partition(".")[2] for table in left} == {"alembic_version"}
    assert look_over(installation.settings, remove_orphans=True, most=True, grace_s=0.0).orphans == {}
    assert objects(installation.settings) == {}
