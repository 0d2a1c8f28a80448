"""The job that takes maps made elsewhere into a study: what it stores, what it refuses, what it survives."""

import json

import grpc
import numpy as np
import pytest
from sqlmodel import Session, select

from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import jobs_pb2, types_pb2
from services.attribution import importing, reading, runs
from services.attribution.importing import import_maps
from services.attribution.tables import Activation, ExplainedImage, MapRun
from services.runtime.directory_store import DirectoryStore
from services.runtime.errors import FailedPrecondition, ResourceExhausted
from services.runtime.job_context import Cancelled
from tests.archives_of_maps import entries, packed, random_maps, table
from tests.services.attribution.conftest import refusal
from tests.services.attribution.stand_ins import STUDY_ID
from tests.services.attribution.test_computing import job_context

Code = grpc.StatusCode
WEIGHTS = [6.0, 3.5, 0.5, -1.0]  # of each image's units: the first two hold 0.95 of the positive weight


@pytest.fixture(autouse=True)
def study_without_xnns(world):
    world.study.xnn_set = ""


@pytest.fixture
def rows(world):
    """Four units of each of three circles, named by path, and of two crosses, named by id."""
    circles = [path for path, _ in world.images["circle"][:3]]
    crosses = [image_id for _, image_id in world.images["cross"][:2]]
    pairs = [(image, "circle") for image in circles] + [(image, "cross") for image in crosses]
    return [(*pair, unit, weight) for pair in pairs for unit, weight in enumerate(WEIGHTS)]


@pytest.fixture
def make_archive(rows):
    """Packs the rows with random maps; arguments change or add an entry, keyword arguments the manifest."""

    def making(content=None, *, maps=None, changed_rows=None, **manifest):
        wanted = rows if changed_rows is None else changed_rows
        maps = random_maps(len(wanted)) if maps is None else maps
        return packed(entries(wanted, maps, **manifest) | (content or {}))

    return making


def result_of(job):
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED, job.error
    return json.loads(job.result_json)


def test_the_fewest_units_that_hold_the_study_s_share_are_its_activations(attribution, make_archive):
    job = attribution.imported(make_archive())
    assert result_of(job)["activations"] == 10
    columns = attribution.activations()
    assert set(columns.x_feature) == {0, 1}
    np.testing.assert_allclose(sorted(set(columns.share)), [0.35, 0.6])
    assert set(columns.contribution) == {6.0, 3.5}
    assert not columns.x
    assert any("10 of 20 rows are not significant" in line for line in job.warnings)


def test_maps_come_back_as_they_were_given(attribution, make_archive, rows, world):
    attribution.imported(make_archive())
    ids = dict(world.images["circle"])
    given = {
        (ids[image], unit): array
        for (image, _, unit, _), array in zip(rows[:12], random_maps(20)[:12], strict=True)
    }
    columns = attribution.activations("circle")
    maps = attribution.maps(columns.activation_id)
    for i, id_ in enumerate(columns.activation_id):
        array = given[columns.image_id[i], columns.x_feature[i]]
        np.testing.assert_allclose(maps[id_], array, atol=array.max() * 2**-11)
        assert columns.map_sum[i] == pytest.approx(array.sum(), rel=1e-5)


def test_naming_is_told_the_activations_without_their_units(attribution, make_archive, world):
    attribution.imported(make_archive())
    columns = attribution.activations()
    told = zip(columns.image_id, columns.category, strict=True)
    assert world.published == dict(zip(columns.activation_id, told, strict=True))


def test_what_made_the_maps_is_what_the_archive_says(attribution, make_archive, world):
    archive = make_archive()
    attribution.imported(archive)
    found = attribution.provenance()
    assert (found.method, found.model, found.map_layer) == ("Grad-CAM", "somebody's vgg16", "features.29")
    assert json.loads(found.parameters_json) == {"target": "logit", "smooth": 0.5}
    assert found.archive_hash == attribution.store.put(archive)
    assert (found.map_height, found.map_width, found.dataset_hash) == (5, 7, "first")
    assert (found.model_hash, found.attachment_layer, found.xnn_set) == ("", "", "")
    assert found.mode == types_pb2.EXCITATION_MODE_UNSPECIFIED
    assert not found.HasField("contrastive")


def test_scores_that_are_not_said_are_left_out(attribution, make_archive):
    attribution.imported(make_archive())
    columns = attribution.images("circle")
    assert len(columns.image_id) == 3
    assert list(columns.significant_count) == [2, 2, 2]
    assert (list(columns.dnn_score), list(columns.xnn_score)) == ([], [])
    assert list(columns.predicted_class) == ["", "", ""]


def test_images_csv_adds_scores_and_images_without_activations(attribution, make_archive, rows, world):
    columns = ("image", "category", "dnn_score", "predicted_class")
    images = dict.fromkeys(row[:2] for row in rows)
    listed = [(*pair, 1.5, "square") for pair in images]
    listed.append((world.images["square"][0][0], "square", -2.0, "circle"))
    result = result_of(attribution.imported(make_archive({"images.csv": table(columns, listed)})))
    assert (result["images"], result["images_without_significant"]) == (6, 1)
    found = attribution.images("square")
    assert (list(found.dnn_score), list(found.predicted_class)) == ([-2.0], ["circle"])
    assert list(found.significant_count) == [0]


def test_rows_that_are_significant_already_are_all_taken(attribution, make_archive, rows):
    positive = [row for row in rows if row[3] > 0]
    attribution.imported(make_archive(changed_rows=positive, already_significant=True))
    columns = attribution.activations()
    assert len(columns.activation_id) == 15
    assert max(columns.share) == pytest.approx(0.6)
    assert attribution.provenance().already_significant


def test_a_study_that_shows_fewer_images_chooses_among_the_archive_s(attribution, make_archive, world):
    world.study.settings.max_images_per_category = 2
    job = attribution.imported(make_archive())
    assert result_of(job)["images"] == 4
    assert any("3 images in the archive, and the study shows 2" in line for line in job.warnings)


def test_a_map_that_is_all_zero_is_kept_and_named(attribution, make_archive):
    maps = random_maps(20)
    maps[0] = 0
    job = attribution.imported(make_archive(maps=maps))
    assert result_of(job)["empty_maps"] == 1
    assert [line for line in job.warnings if "row 0 of activations.csv" in line and "sum 0" in line]


def test_categories_without_an_image_in_the_archive_are_named(attribution, make_archive):
    assert "category 'square' has no image in the archive" in attribution.imported(make_archive()).warnings


@pytest.mark.parametrize(
    ("i", "change", "words"),
    [
        (
            2,
            {0: "test/circle/none.png"},
            "row 2 of activations.csv (image 'test/circle/none.png', category 'circle'",
        ),
        (2, {0: "test/circle/none.png"}, "give its path there"),
        (19, {1: "circle"}, "no such image in this class and part of data set 'shapes'"),
        (0, {1: "hat"}, "study 'shapes' has no such category; it has 'circle', 'cross', 'square'"),
        (1, {2: 0}, "unit 0) is of the same image, category and unit as row 0; keep one"),
    ],
)
def test_a_row_that_does_not_fit_the_study_is_refused_by_name(
    attribution, make_archive, rows, i, change, words
):
    rows[i] = tuple(change.get(place, cell) for place, cell in enumerate(rows[i]))
    assert words in failure(attribution, make_archive())


def test_a_path_and_an_id_of_the_same_image_are_the_same_row_twice(attribution, make_archive, rows, world):
    rows.append((world.images["circle"][0][1], "circle", 0, 1.0))
    assert "row 20 of activations.csv" in failure(attribution, make_archive())


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([], "images.csv has no row of this image and category"),
        ([("test/circle/0.png", "circle", "circle")] * 2, "comes twice; keep one"),
        ([("test/circle/0.png", "circle", "hat")], "predicted_class 'hat' is no class of model 'net'"),
        ([("test/circle/9.png", "circle", "circle")], "the row of images.csv with image 'test/circle/9.png'"),
    ],
)
def test_a_row_of_images_csv_that_does_not_fit_is_refused(attribution, make_archive, cells, words):
    columns = ("image", "category", "predicted_class")
    assert words in failure(attribution, make_archive({"images.csv": table(columns, cells)}))


def test_an_archive_of_another_model_is_refused(attribution, make_archive, world):
    assert "import into a study of the same model" in failure(attribution, make_archive(model_hash="0" * 64))
    right = make_archive(model_hash=world.model.model_hash)
    assert attribution.imported(right).state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert attribution.provenance().model_hash == world.model.model_hash


def test_a_bad_archive_changes_nothing(attribution, make_archive, world):
    maps = random_maps(20)
    maps[-1, 0, 0] = np.nan
    assert "row 19 of activations.csv" in failure(attribution, make_archive(maps=maps))
    with Session(attribution.engine) as opened:
        assert opened.get(MapRun, STUDY_ID) is None
    assert attribution.imported(make_archive()).state == jobs_pb2.JOB_STATE_SUCCEEDED


def test_the_same_archive_again_changes_nothing(attribution, make_archive, world):
    archive = make_archive()
    attribution.imported(archive)
    before, told = attribution.rows(), dict(world.published)
    result_of(attribution.imported(archive))
    assert attribution.rows() == before
    assert world.published == told


def test_another_archive_is_refused_at_once(attribution, make_archive):
    attribution.imported(make_archive())
    code, message = refusal(lambda: attribution.start_importing(make_archive(method="another")))
    assert code == Code.FAILED_PRECONDITION
    assert "a study's maps have one origin: make a new study for those of archive" in message


def test_a_study_with_computed_maps_takes_no_imported_ones(attribution, make_archive, world):
    world.study.xnn_set = "xnns"
    attribution.result()
    code, message = refusal(lambda: attribution.start_importing(make_archive()))
    assert code == Code.FAILED_PRECONDITION
    assert message.startswith("study 'shapes' has maps computed by Onoma; a study's maps have one origin")


def test_maps_are_not_computed_into_an_imported_study(attribution, make_archive, world):
    world.study.xnn_set = "xnns"
    attribution.imported(make_archive())
    code, message = refusal(attribution.start_computing)
    assert code == Code.FAILED_PRECONDITION
    assert message.endswith("make a new study for computed ones")


def test_maps_are_not_computed_without_xnns(attribution):
    code, message = refusal(attribution.start_computing)
    assert code == Code.FAILED_PRECONDITION
    assert "was made without a set of xNNs, so its maps are imported (onoma maps import)" in message


@pytest.mark.parametrize(
    ("key", "code"),
    [("", Code.INVALID_ARGUMENT), ("../x", Code.INVALID_ARGUMENT), ("0" * 64, Code.NOT_FOUND)],
)
def test_an_object_that_is_not_there_is_refused_at_once(attribution, key, code):
    request = pb.ImportMapsRequest(study_id=STUDY_ID, object_key=key)
    assert refusal(lambda: attribution.calls.ImportMaps(request))[0] == code


def test_an_archive_over_the_limit_is_refused_at_once(monkeypatch, open_server, make_archive):
    monkeypatch.setenv("ONOMA_MAX_IMPORT_BYTES", "1000")
    code, message = refusal(lambda: open_server().start_importing(make_archive()))
    assert code == Code.RESOURCE_EXHAUSTED
    assert "over the 1,000 of ONOMA_MAX_IMPORT_BYTES: raise that" in message


def test_nothing_is_given_out_of_an_import_that_has_stopped(make_computing, store, make_archive, monkeypatch):
    monkeypatch.setattr(importing, "_SHARD_MAPS", 4)
    of, key = make_computing(), store.put(make_archive())
    add = runs.add
    first = importing_context(key)

    def add_then_cancel(*arguments):
        first.cancelled.set()
        add(*arguments)

    monkeypatch.setattr(runs, "add", add_then_cancel)
    with pytest.raises(Cancelled):
        import_maps(first, of)
    assert len(runs.stored_ids(of.engine, STUDY_ID)) == 4
    with pytest.raises(FailedPrecondition, match="are still being imported"):
        next(reading.activations(of.engine, STUDY_ID, ""))


def test_a_stopped_import_goes_on_where_it_was(make_computing, store, make_archive, monkeypatch):
    monkeypatch.setattr(importing, "_SHARD_MAPS", 4)
    of, key = make_computing(), store.put(make_archive())
    put, stored = DirectoryStore.put, []

    def put_until_full(self, data):
        if len(stored) == 1:
            raise ResourceExhausted("the disk is full", "DISK_FULL")
        stored.append(data)
        return put(self, data)

    monkeypatch.setattr(DirectoryStore, "put", put_until_full)
    with pytest.raises(ResourceExhausted):
        import_maps(importing_context(key), of)
    monkeypatch.setattr(DirectoryStore, "put", put)
    kept = runs.stored_ids(of.engine, STUDY_ID)
    assert len(kept) == 4
    assert import_maps(importing_context(key), of)["activations"] == 10
    assert kept < runs.stored_ids(of.engine, STUDY_ID)


def test_large_maps_make_smaller_shards(make_computing, store, make_archive, monkeypatch):
    of, key = make_computing(), store.put(make_archive())
    monkeypatch.setattr(importing, "_SHARD_BYTES", 3 * 5 * 7 * 4)
    import_maps(importing_context(key), of)
    with Session(of.engine) as opened:
        shards = list(opened.exec(select(Activation.shard_key)))
    assert [shards.count(shard) for shard in dict.fromkeys(shards)].count(3) == 3


def test_postgresql_holds_what_sqlite_holds(make_computing, postgresql_url, store, make_archive):
    key = store.put(make_archive())
    sqlite, postgresql = make_computing("sqlite"), make_computing("postgresql", postgresql_url)
    results = [import_maps(importing_context(key), of) for of in (sqlite, postgresql)]
    assert results[0] == results[1]
    for of in (sqlite, postgresql):
        with Session(of.engine) as opened:
            assert set(opened.exec(select(ExplainedImage.dnn_score))) == {None}
            assert set(opened.exec(select(Activation.x))) == {None}


def failure(attribution, archive):
    """The error of an import that has to fail."""
    job = attribution.imported(archive)
    assert job.state == jobs_pb2.JOB_STATE_FAILED
    return job.error


def importing_context(key):
    context = job_context()
    context.params["object_key"] = key
    return context
