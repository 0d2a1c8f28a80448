"""Features and scores of a data set: computed once, shard by shard; pictures are synthetic."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load as load_tensors
from sqlmodel import Session, select

from onoma.science.excitation import look_from, prepare
from onoma.science.pictures import MAX_PIXELS, decode
from onoma.science.program import find_attachment, load, with_features
from services.inference import feature_shards, features, registry, tables
from services.inference.sessions import open_session
from services.runtime.database import open_database, session
from services.runtime.errors import Aborted, DataLoss, FailedPrecondition, ResourceExhausted
from services.runtime.jobs import Cancelled, Job, JobContext
from services.runtime.objects import DirectoryStore, store_place
from services.runtime.settings import RuntimeSettings
from tests import synthetic
from tests.services.inference.interruptions import Interrupted

ROOT = Path(__file__).parents[3]


def job():
    return Job(job_id="job-1", kind="train_xnn", params={})


class Road:
    """The registered network and data set without a server; counts the images that the network runs on."""

    def __init__(self, data_dir, monkeypatch):
        self.data_dir = data_dir
        self.engine = open_database(RuntimeSettings(data_dir=data_dir), "inference")
        self.store = DirectoryStore(data_dir / "objects")
        self.model = registry.find(self.engine, tables.Model, "tiny")
        self.dataset = registry.find(self.engine, tables.Dataset, "shapes")
        self.onnx = open_session(self.store.get(self.model.onnx_key))
        self.images_run = 0
        for name in ("run", "run_to_cells"):
            monkeypatch.setattr(feature_shards, name, self.counting(getattr(feature_shards, name)))

    def counting(self, run):
        def counted(onnx, images):
            self.images_run += len(images)
            return run(onnx, images)

        return counted

    def part(self, part=tables.TRAIN, context=None, max_pixels=MAX_PIXELS, keep=False, on="local"):
        of = features.Pass(
            self.engine,
            self.store,
            store_place(RuntimeSettings(data_dir=self.data_dir)),
            self.model,
            self.dataset,
            part,
            max_pixels,
            keep,
            onnx=lambda: self.onnx,
        )
        return features.part_features(context or JobContext(job()), of, on)

    def cells(self):
        """Kept activations of the map layer by image."""
        with Session(self.engine) as opened:
            rows = opened.exec(select(tables.KeptCells)).all()
        return {row.image_id: load_tensors(self.store.get(row.object_key))["cells"] for row in rows}

    def shards(self):
        with Session(self.engine) as opened:
            query = select(tables.FeatureShard).order_by(tables.FeatureShard.shard)
            return opened.exec(query).all()

    def images(self, part=tables.TRAIN):
        row = tables.DatasetImage
        with Session(self.engine) as opened:
            query = select(row).where(row.part == part).order_by(row.class_index, row.path)
            return opened.exec(query).all()

    def repoint(self, path, data):
        """Stores other bytes for the picture at a path."""
        image_id = self.store.put(data)
        with session(self.engine) as opened:
            opened.add(tables.Image(image_id=image_id, height=1, width=1, notes=[]))
            opened.flush()
            opened.exec(
                select(tables.DatasetImage).where(tables.DatasetImage.path == path)
            ).one().image_id = image_id


@pytest.fixture
def road(registered_dir, tmp_path, monkeypatch):
    shutil.copytree(registered_dir, tmp_path / "onoma-data")
    monkeypatch.setattr(features, "_SHARD_IMAGES", 20)
    monkeypatch.setattr(feature_shards, "_BATCH_IMAGES", 8)
    opened = Road(tmp_path / "onoma-data", monkeypatch)
    yield opened
    opened.engine.dispose()


def damage(store, key):
    path = store._file(key)
    path.write_bytes(path.read_bytes()[:-1])


def assert_same(found, wanted):
    for name in ("features", "scores", "class_indices"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


# What is computed


def test_features_and_scores_are_torchs_own(road, program):
    found = road.part(tables.TEST)
    loaded = load(program)
    pixels = np.stack([decode(road.store.get(image.image_id)).pixels for image in road.images(tables.TEST)])
    with torch.inference_mode():
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        scores, wanted = with_features(loaded, find_attachment(loaded))(images)
    np.testing.assert_allclose(found.features, wanted, atol=1e-4)
    np.testing.assert_allclose(found.scores, scores, atol=1e-4)
    assert found.class_indices.tolist() == [image.class_index for image in road.images(tables.TEST)]


def test_features_are_plain_arrays_of_float32(road):
    found = road.part()
    assert (found.features.dtype, found.features.shape) == (np.float32, (72, 32))
    assert (found.scores.dtype, found.scores.shape) == (np.float32, (72, 3))
    assert found.class_indices.dtype == np.int64


def test_the_network_runs_once_for_each_image_and_never_again(road):
    first = road.part()
    assert road.images_run == 72
    assert_same(road.part(), first)
    assert road.images_run == 72


def test_the_sizes_of_shards_and_batches_change_nothing(road, monkeypatch):
    small = road.part()
    assert [shard.shard for shard in road.shards()] == [0, 1, 2, 3]
    monkeypatch.setattr(features, "_SHARD_IMAGES", 1024)
    monkeypatch.setattr(features, "_cache_key", lambda *a: "elsewhere")
    whole = road.part()
    np.testing.assert_allclose(whole.features, small.features, atol=1e-5)
    np.testing.assert_array_equal(whole.class_indices, small.class_indices)


def test_a_part_without_images_is_empty(road):
    with session(road.engine) as opened:
        for image in opened.exec(select(tables.DatasetImage).where(tables.DatasetImage.part == tables.TEST)):
            opened.delete(image)
    road.dataset.test_counts = [0, 0, 0]
    found = road.part(tables.TEST)
    assert found.features.shape == (0, 32)
    assert found.scores.shape == (0, 3)
    assert found.class_indices.shape == (0,)


def test_a_picture_under_two_paths_and_in_two_parts_counts_each_time(
    inference, tmp_path, program, monkeypatch
):
    folder = synthetic.write_image_folder(tmp_path / "twice", train=3, test=1)
    shutil.copy(folder / "train/cross/cross_000.png", folder / "train/cross/again.png")
    shutil.copy(folder / "train/cross/cross_000.png", folder / "test/cross/again.png")
    inference.dataset(folder, "shapes")
    inference.registered(program)
    road = Road(inference.data_dir, monkeypatch)
    train, test = road.part(tables.TRAIN), road.part(tables.TEST)
    assert (len(train.features), len(test.features)) == (10, 4)
    np.testing.assert_array_equal(train.features[3], train.features[4])
    np.testing.assert_allclose(test.features[1], train.features[3], atol=1e-5)
    road.engine.dispose()


# What it takes of memory


_TRAINING = """
import sys
from pathlib import Path
import numpy as np
import sqlalchemy
from safetensors.numpy import save
from sqlmodel import select
from services.inference import features, registry, tables
from services.runtime.database import open_database, session
from services.runtime.jobs import Job, JobContext
from services.runtime.objects import DirectoryStore
from services.runtime.settings import RuntimeSettings

def private_kb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

data_dir, count, width = Path(sys.argv[1]), int(sys.argv[2]), 512
engine = open_database(RuntimeSettings(data_dir=data_dir), "inference")
store = DirectoryStore(data_dir / "objects")
model, dataset = registry.find(engine, tables.Model, "tiny"), registry.find(engine, tables.Dataset, "shapes")
model.feature_count, dataset.train_counts, dataset.import_id = width, [count], "many"
image_id = sqlalchemy.select(tables.Image.image_id).limit(1)
with session(engine) as opened:
    rows = [
        {"import_id": "many", "path": f"{number:06}", "dataset": "shapes", "part": "train", "class_index": 0}
        for number in range(count)
    ]
    first = opened.exec(select(tables.Image)).first().image_id
    opened.execute(sqlalchemy.insert(tables.DatasetImage), [row | {"image_id": first} for row in rows])
    key, generator = features._cache_key(model, dataset, "train"), np.random.default_rng(0)
    for shard, start in enumerate(range(0, count, features._SHARD_IMAGES)):
        size = min(features._SHARD_IMAGES, count - start)
        made = save({
            "features": generator.random((size, width), np.float32),
            "scores": np.zeros((size, 3), np.float32),
            "positions": np.arange(size),
        })
        opened.add(tables.FeatureShard(cache_key=key, shard=shard, object_key=store.put(made)))
del rows, made
before = private_kb()
of = features.Pass(engine, store, {}, model, dataset, "train", 1, keep=False, onnx=None)
found = features.part_features(JobContext(Job(job_id="job-1", kind="train_xnn", params={})), of)
total = sum(float(found.features[start : start + 1000].sum()) for start in range(0, count, 1000))
assert found.features.shape == (count, width) and 0.49 < total / count / width < 0.51
assert isinstance(found.features, np.memmap) and isinstance(found.scores, np.memmap)
print(private_kb() - before)
"""


def test_features_are_mapped_and_memory_does_not_grow_with_the_data_set(registered_dir, tmp_path):
    """50,000 x 512 features are 102 MB; reading them all leaves a process less than 16 MB larger of its own."""
    shutil.copytree(registered_dir, tmp_path / "onoma-data")
    command = [sys.executable, "-c", _TRAINING, str(tmp_path / "onoma-data"), "50000"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 16_000


# What is cut off


@pytest.mark.parametrize("error", [Cancelled(), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 2, 6])
def test_a_job_that_was_cut_off_goes_on_at_the_next_shard(road, after, error):
    with pytest.raises(type(error)):
        road.part(context=Interrupted(job(), after, error))
    kept = len(road.shards())
    road.images_run = 0
    resumed = road.part()
    assert road.images_run == 72 - 20 * kept
    assert_same(road.part(), resumed)


def test_a_full_disk_leaves_no_half_shard(road, monkeypatch):
    put, stored = DirectoryStore.put, []

    def filling_up(self, data):
        if len(stored) >= 2:
            raise ResourceExhausted("the disk is full")
        stored.append(put(self, data))
        return stored[-1]

    monkeypatch.setattr(DirectoryStore, "put", filling_up)
    with pytest.raises(ResourceExhausted, match="the disk is full"):
        road.part()
    assert len(road.shards()) == 2
    monkeypatch.setattr(DirectoryStore, "put", put)
    assert len(road.part().features) == 72


# What is damaged


@pytest.mark.parametrize("lose", [damage, DirectoryStore.delete])
def test_a_lost_shard_is_computed_again(road, lose):
    first = road.part()
    lose(road.store, road.shards()[1].object_key)
    road.images_run = 0
    assert_same(road.part(), first)
    assert road.images_run == 20
    road.part()
    assert road.images_run == 20


@pytest.mark.parametrize("lose", [damage, DirectoryStore.delete])
def test_a_lost_picture_is_named_by_path_and_key_with_the_way_out(road, lose):
    image = road.images()[30]
    lose(road.store, image.image_id)
    with pytest.raises(DataLoss) as error:
        road.part()
    assert f"picture {image.path} is lost" in str(error.value)
    assert image.image_id in str(error.value)
    assert str(error.value).endswith("import its data set again")


def test_a_picture_that_no_longer_decodes_is_warned_about_each_time_and_left_out(road):
    image = road.images()[30]
    road.repoint(image.path, b"no picture")
    for _ in range(2):
        context = JobContext(job())
        found = road.part(context=context)
        assert len(found.features) == len(found.class_indices) == 71
        assert context.progress()["warnings"] == [
            f"{image.path}: no longer decodes within the server's limits; left out"
        ]
        assert context.progress()["done"] == 72


def test_a_shard_of_pictures_none_of_which_decodes_is_empty(road, monkeypatch):
    assert len(road.part(max_pixels=10).features) == 0


def test_a_picture_that_the_network_gives_nan_on_is_named(road, monkeypatch):
    run = feature_shards.run

    def spoilt(onnx, images):
        scores, found = run(onnx, images)
        found[1, 0] = np.nan
        return scores, found

    monkeypatch.setattr(feature_shards, "run", spoilt)
    with pytest.raises(ValueError, match=road.images()[1].path):
        road.part()


def test_a_data_set_imported_anew_in_the_meantime_is_told(road):
    with session(road.engine) as opened:
        opened.delete(road.images()[0])
    with pytest.raises(Aborted, match="data set 'shapes' was imported anew in the meantime"):
        road.part()


# Activations of the map layer, kept on demand


def test_kept_activations_are_those_of_the_map_layer(road):
    assert not road.cells()
    found = road.part(tables.TEST, keep=True)
    cells = road.cells()
    assert len(cells) == len(found.features)
    assert {array.shape[1:] for array in cells.values()} == {(road.model.map_height, road.model.map_width)}
    program = load(road.store.get(road.model.model_hash))
    explainer = prepare(program, road.model.attachment_layer, road.model.map_layer, road.model.mode)
    ids = list(cells)
    seen = look_from(explainer, torch.from_numpy(np.stack([cells[image_id] for image_id in ids])))
    order = np.lexsort(found.features.T)
    again = seen.features.numpy()
    np.testing.assert_allclose(again[np.lexsort(again.T)], found.features[order], atol=1e-4)


def test_activations_are_kept_once_and_others_not_computed_again(road):
    road.part(tables.TEST)
    run = road.images_run
    road.part(tables.TEST, keep=True)
    assert road.images_run == 2 * run  # the features were there, without activations
    road.part(tables.TEST, keep=True)
    road.part(tables.TEST)
    assert road.images_run == 2 * run


def test_a_model_registered_by_an_earlier_version_says_how_to_keep_activations(road):
    graph = onnx.load_from_string(road.store.get(road.model.onnx_key))
    del graph.graph.output[2]
    road.onnx = open_session(graph.SerializeToString())
    assert len(road.part(tables.TEST).features)
    road.dataset.content_hash = "another, so that nothing is cached"
    with pytest.raises(FailedPrecondition, match="register the program again"):
        road.part(tables.TEST, keep=True)
