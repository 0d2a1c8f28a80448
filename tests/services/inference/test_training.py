"""Training of xNNs over a real server; pictures are synthetic."""

import json
import sqlite3
from contextlib import closing

import grpc
import numpy as np
import pytest
from PIL import Image, ImageOps
from safetensors.numpy import load as load_tensors
from sqlalchemy.pool import NullPool
from sqlmodel import Session, create_engine, select

from onoma.science.xnn_training import MAX_ROUNDS
from onoma.v1 import inference_pb2 as pb
from onoma.v1 import jobs_pb2, types_pb2
from services.inference import tables, training
from services.runtime.objects import DirectoryStore
from tests import synthetic
from tests.synthetic import CLASSES

SETTINGS = {"epochs": 4, "batch_size": 24}
SUCCEEDED, FAILED = jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED


def refusal(call):
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def scores_of_tests(inference, dataset="shapes"):
    """Class and network's scores of every test image, in order."""
    images = inference.images(dataset, part=types_pb2.DATASET_PART_TEST)
    request = pb.PredictRequest(model="tiny", image_ids=[image.image_id for image in images])
    found = inference.calls.Predict(request).predictions
    return [image.class_name for image in images], np.array([row.dnn_scores for row in found], np.float64)


def features_of_test_images(inference):
    """(n, D) features as the cache of the training job has them."""
    store = DirectoryStore(inference.data_dir / "objects")
    engine = create_engine(f"sqlite:///{inference.data_dir / 'inference.db'}", poolclass=NullPool)
    with Session(engine) as opened:
        rows = opened.exec(select(tables.FeatureShard)).all()
    shards = [load_tensors(store.get(row.object_key)) for row in rows]
    return next(shard["features"] for shard in shards if len(shard["features"]) == 24).astype(np.float64)


def terms_by_hand(store, weights_key, features):
    """Contributions w_i x_i (n, K) and the bias, by numpy alone."""
    weights = load_tensors(store.get(weights_key))
    values = features
    for layer in range(3):
        values = np.maximum(
            values @ weights[f"encoder.{layer}.weight"].T + weights[f"encoder.{layer}.bias"], 0
        )
    return values * weights["read_out.weight"], float(weights["read_out.bias"])


def significant_by_hand(terms, share=0.9):
    """How many of one image's terms, largest first, hold `share` of the positive sum."""
    positive = sorted((term for term in terms if term > 0), reverse=True)
    total, held = sum(positive), 0.0
    for count, term in enumerate(positive, 1):
        held += term
        if held >= share * total - 1e-9:
            return count
    return 0


def unchecked(*names):
    """The warning of a training on fewer than 100 images."""
    return (
        "fewer than 100 images to train on: how faithful xNNs are was not checked on held-out ones, so none counts as "
        f"accepted ({', '.join(names)})"
    )


# What a training gives


def test_every_class_gets_an_xnn_with_an_object_of_its_own(trained):
    found = trained.xnn_set()
    assert [xnn.class_name for xnn in found.xnns] == list(trained.model().classes)
    keys = {xnn.weights_key for xnn in found.xnns}
    assert len(keys) == 3
    assert all(DirectoryStore(trained.data_dir / "objects").get(key) for key in keys)
    assert (found.settings.epochs, found.settings.batch_size, found.settings.x_feature_count) == (4, 24, 5)
    assert found.settings.seed == 0


def test_table_1_is_what_numpy_computes(trained):
    store = DirectoryStore(trained.data_dir / "objects")
    names, dnn = scores_of_tests(trained)
    features = features_of_test_images(trained)
    for target, xnn in enumerate(trained.xnn_set().xnns):
        terms, bias = terms_by_hand(store, xnn.weights_key, features)
        predicted = terms.sum(1) + bias
        assert xnn.rmse == pytest.approx(np.sqrt(np.mean((predicted - dnn[:, target]) ** 2)), rel=1e-3)
        assert (xnn.score_min, xnn.score_max) == pytest.approx(
            (dnn[:, target].min(), dnn[:, target].max()), abs=1e-4
        )
        own = np.array([name == xnn.class_name for name in names])
        replaced = dnn.copy()
        replaced[:, target] = predicted
        counts = [significant_by_hand(row) for row in terms[own]]
        assert (xnn.image_count, xnn.significant_count) == (8, sum(counts))
        assert xnn.significant_mean == pytest.approx(np.mean(counts))
        assert xnn.dnn_accuracy == pytest.approx(np.mean(dnn[own].argmax(1) == target))
        assert xnn.xnn_accuracy == pytest.approx(np.mean(replaced[own].argmax(1) == target))
        varying = terms[own][:, terms[own].std(0) > 1e-6]
        if varying.shape[1] > 1:
            matrix = np.abs(np.corrcoef(varying.T))
            off_diagonal = matrix[~np.eye(len(matrix), dtype=bool)]
            assert xnn.mean_abs_correlation == pytest.approx(off_diagonal.mean(), abs=1e-3)
        else:
            assert not xnn.HasField("mean_abs_correlation")
        contributions = np.array(xnn.mean_contributions)
        matters = (contributions > 0) & (contributions >= 0.3 * contributions.max())
        assert xnn.mattering_count == matters.sum()
        assert not xnn.accepted  # of 72 images none is held out
        assert 0 <= xnn.restart_count <= MAX_ROUNDS


def test_figures_of_the_whole_set_are_what_numpy_computes(trained):
    store = DirectoryStore(trained.data_dir / "objects")
    found = trained.xnn_set()
    names, dnn = scores_of_tests(trained)
    labels = np.array([CLASSES.index(name) for name in names])
    features = features_of_test_images(trained)
    columns = []
    for xnn in found.xnns:
        terms, bias = terms_by_hand(store, xnn.weights_key, features)
        columns.append(terms.sum(1) + bias)
    predicted = np.stack(columns, 1).argmax(1)
    assert found.test_image_count == 24
    assert found.dnn_accuracy == pytest.approx(np.mean(dnn.argmax(1) == labels))
    assert found.xnn_accuracy == pytest.approx(np.mean(predicted == labels))
    assert found.argmax_agreement == pytest.approx(np.mean(predicted == dnn.argmax(1)))


def test_agreement_is_known_once_the_last_class_is_trained(registered):
    registered.trained(classes=["circle"])
    found = registered.xnn_set()
    assert not found.HasField("argmax_agreement")
    assert not found.HasField("xnn_accuracy")
    assert found.HasField("dnn_accuracy")
    registered.trained(classes=["square", "cross"])
    found = registered.xnn_set()
    assert [xnn.class_name for xnn in found.xnns] == list(CLASSES)
    assert found.HasField("argmax_agreement")


def test_a_class_trained_alone_is_what_it_is_among_all(trained):
    trained.trained("alone", classes=["square"])
    alone = trained.xnn_set("alone").xnns[0]
    assert alone == trained.xnn_set().xnns[-1]


def test_training_again_keeps_what_is_trained(trained, monkeypatch):
    monkeypatch.setattr(training, "train_group", None)
    before = trained.xnn_set()
    job = trained.trained()
    assert job.state == SUCCEEDED, job.error
    assert json.loads(job.result_json) == {"xnn_set": "tiny", "classes": 3}
    assert trained.xnn_set() == before


def test_another_seed_gives_other_weights(trained):
    trained.trained("other", settings=pb.XnnSettings(**SETTINGS, seed=7))
    keys = {xnn.weights_key for name in ("tiny", "other") for xnn in trained.xnn_set(name).xnns}
    assert len(keys) == 6


def test_a_lost_xnn_is_trained_again_the_same(trained):
    store = DirectoryStore(trained.data_dir / "objects")
    before = trained.xnn_set()
    path = store._file(before.xnns[1].weights_key)
    path.write_bytes(path.read_bytes()[:-1])
    job = trained.trained()
    assert job.state == SUCCEEDED, job.error
    assert trained.xnn_set() == before
    assert store.get(before.xnns[1].weights_key)


def test_progress_counts_every_epoch_of_every_class_and_of_every_restart(registered):
    job = registered.trained()
    rounds = sum(1 + xnn.restart_count for xnn in registered.xnn_set().xnns)
    assert rounds > 3
    assert (job.stage, job.done) == ("training xNNs", job.total)
    assert 12 < job.total <= 4 * rounds


def test_xnns_on_a_shared_trunk_have_their_first_layer_in_common_and_go_on_alike(registered):
    settings = pb.XnnSettings(**SETTINGS, shared_trunk=True)
    assert registered.trained("fast", settings=settings).state == SUCCEEDED
    found = registered.xnn_set("fast")
    store = DirectoryStore(registered.data_dir / "objects")
    layers = [load_tensors(store.get(xnn.weights_key))["encoder.0.weight"] for xnn in found.xnns]
    assert all(np.array_equal(layers[0], layer) for layer in layers[1:])
    assert found.settings.shared_trunk
    path = store._file(found.xnns[1].weights_key)
    path.write_bytes(b"")
    assert registered.trained("fast", settings=settings).state == SUCCEEDED
    assert registered.xnn_set("fast") == found


def test_activations_of_the_map_layer_are_kept_for_the_part_asked_for(registered):
    assert not any(image.cells_key for image in registered.images("shapes", model="tiny"))
    assert registered.trained(keep_cells_of=types_pb2.DATASET_PART_TEST).state == SUCCEEDED
    images = registered.images("shapes", model="tiny")
    of_tests = [image.part == types_pb2.DATASET_PART_TEST for image in images]
    assert [bool(image.cells_key) for image in images] == of_tests
    assert not any(image.cells_key for image in registered.images("shapes"))
    store = DirectoryStore(registered.data_dir / "objects")
    cells = load_tensors(store.get(images[of_tests.index(True)].cells_key))["cells"]
    model = registered.calls.GetModel(pb.GetModelRequest(name="tiny")).model
    assert cells.shape[1:] == (model.map_height, model.map_width)


def test_settings_are_kept_as_they_were_used(registered):
    settings = pb.XnnSettings(
        **SETTINGS,
        reconstructed_units=0,
        precision=pb.PRECISION_BF16,
        pull_away_pairs=pb.PULL_AWAY_PAIRS_IMAGES,
    )
    assert registered.trained("paper", settings=settings).state == SUCCEEDED
    used = registered.xnn_set("paper").settings
    assert (used.reconstructed_units, used.precision) == (0, pb.PRECISION_BF16)
    assert used.pull_away_pairs == pb.PULL_AWAY_PAIRS_IMAGES
    assert registered.trained("defaults").state == SUCCEEDED
    used = registered.xnn_set("defaults").settings
    assert (used.reconstructed_units, used.precision) == (512, pb.PRECISION_FLOAT32)
    assert used.pull_away_pairs == pb.PULL_AWAY_PAIRS_FEATURES


def test_a_set_of_before_a_setting_was_there_is_trained_again_under_its_name(trained, monkeypatch):
    """The setting came with a training that gives other weights, so those of before are not taken for its own."""
    engine = create_engine(f"sqlite:///{trained.data_dir / 'inference.db'}", poolclass=NullPool)
    with Session(engine) as opened:
        row = opened.get_one(tables.XnnSet, "tiny")
        row.settings = {name: value for name, value in row.settings.items() if name != "pull_away_pairs"}
        xnns = opened.exec(select(tables.Xnn)).all()
        hashes = {xnn.class_name: xnn.settings_hash for xnn in xnns}
        for xnn in xnns:
            xnn.settings_hash = f"{'0' * 60}{CLASSES.index(xnn.class_name):04}"  # of fewer settings
        opened.commit()
    assert trained.xnn_set().settings.pull_away_pairs == pb.PULL_AWAY_PAIRS_FEATURES
    before, train_group, fitted = trained.xnn_set(), training.train_group, []

    def counting(*arguments, **named):
        fitted.append(1)
        return train_group(*arguments, **named)

    monkeypatch.setattr(training, "train_group", counting)
    assert trained.trained().state == SUCCEEDED
    assert len(fitted) == 3
    assert trained.xnn_set() == before
    with Session(engine) as opened:
        assert {xnn.class_name: xnn.settings_hash for xnn in opened.exec(select(tables.Xnn))} == hashes


def test_scores_of_a_class_are_those_of_network_and_xnn(trained):
    found = list(trained.calls.ListXnnScores(pb.ListXnnScoresRequest(name="tiny", class_name="square")))
    names, dnn = scores_of_tests(trained)
    target = CLASSES.index("square")
    np.testing.assert_allclose([s for part in found for s in part.dnn_scores], dnn[:, target], atol=1e-5)
    assert [of for part in found for of in part.of_class] == [name == "square" for name in names]
    xnn = trained.xnn_set().xnns[target]
    errors = [a - b for part in found for a, b in zip(part.dnn_scores, part.xnn_scores, strict=True)]
    assert xnn.rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-4)


def test_scores_of_a_class_without_an_xnn_name_those_that_have_one(trained):
    call = trained.calls.ListXnnScores(pb.ListXnnScoresRequest(name="tiny", class_name="hat"))
    status, line = refusal(lambda: list(call))
    assert status == grpc.StatusCode.NOT_FOUND
    assert line == "set 'tiny' has no xNN of class 'hat', it has: 'circle', 'cross', 'square'"


def test_scores_that_can_no_longer_be_read_say_the_way_out(trained):
    store = DirectoryStore(trained.data_dir / "objects")
    engine = create_engine(f"sqlite:///{trained.data_dir / 'inference.db'}", poolclass=NullPool)
    with Session(engine) as opened:
        for shard in opened.exec(select(tables.FeatureShard)):
            store._file(shard.object_key).unlink()
    call = trained.calls.ListXnnScores(pb.ListXnnScoresRequest(name="tiny", class_name="square"))
    status, line = refusal(lambda: list(call))
    assert status == grpc.StatusCode.FAILED_PRECONDITION
    assert "train its xNNs again" in line


# Data sets that lack something


@pytest.fixture
def on(registered, tmp_path):
    """Imports synthetic pictures less some, as data set "less"."""

    def importing(*gone, keep=0):
        folder = synthetic.write_image_folder(tmp_path / "less", train=6, test=2)
        for name in gone:
            for path in sorted((folder / name).iterdir())[keep:]:
                path.unlink()
        registered.dataset(folder, "less")
        return registered

    return importing


def test_a_class_with_one_image_is_left_out_with_a_warning(on):
    inference = on("train/cross", keep=1)
    job = inference.trained(dataset="less")
    assert job.state == SUCCEEDED, job.error
    assert list(job.warnings) == [
        "class 'cross' has 1 training image; at least 2 are needed "
        "(add images or leave it out with --classes)",
        unchecked("circle", "square"),
    ]
    assert job.done == job.total >= 2 * 4  # classes and epochs; restarts come on top
    found = inference.xnn_set()
    assert [xnn.class_name for xnn in found.xnns] == ["circle", "square"]
    assert not found.HasField("argmax_agreement")


def test_a_class_without_test_images_has_no_accuracy_and_is_told(on):
    inference = on("test/cross")
    job = inference.trained(dataset="less")
    assert list(job.warnings) == [
        unchecked(*CLASSES),
        "class 'cross' has no test image; its accuracy is not known",
    ]
    xnn = inference.xnn_set().xnns[1]
    for field in ("significant_mean", "dnn_accuracy", "xnn_accuracy"):
        assert not xnn.HasField(field)
    assert xnn.image_count == 0
    assert xnn.rmse > 0
    assert inference.xnn_set().test_image_count == 4


def test_without_any_test_image_all_is_trained_and_told(on):
    inference = on(*(f"test/{name}" for name in CLASSES))
    job = inference.trained(dataset="less")
    assert job.state == SUCCEEDED, job.error
    assert len(job.warnings) == 4
    found = inference.xnn_set()
    assert len(found.xnns) == 3
    assert found.test_image_count == 0
    assert not found.HasField("dnn_accuracy")
    for field in ("rmse", "score_min", "score_max"):
        assert not found.xnns[0].HasField(field)


def test_where_no_class_has_images_enough_nothing_is_trained_or_named(on):
    inference = on(*(f"train/{name}" for name in CLASSES), keep=1)
    job = inference.trained(dataset="less")
    assert job.state == FAILED
    assert job.error == (
        "no class of data set 'less' has the 2 training images that are needed; nothing was trained"
    )
    assert len(job.warnings) == 3
    assert refusal(inference.xnn_set)[0] == grpc.StatusCode.NOT_FOUND


def test_pictures_of_classes_that_the_model_does_not_know_are_not_measured_on(registered, tmp_path):
    folder = synthetic.write_image_folder(tmp_path / "more", train=6, test=2)
    for part, name in (("train", "hat"), ("test", "hat"), ("test", "umbrella")):
        (folder / part / name).mkdir()
        for number, path in enumerate(sorted((folder / part / "circle").iterdir())):
            picture = ImageOps.solarize(Image.open(path), 40 * len(name))
            picture.save(folder / part / name / f"{number}.png")
    registered.dataset(folder, "more")
    job = registered.trained(dataset="more")
    assert job.state == SUCCEEDED, job.error
    found = registered.xnn_set()
    names, dnn = scores_of_tests(registered, "more")
    known = np.isin(names, CLASSES)
    assert (known.sum(), (~known).sum()) == (6, 4)
    assert found.test_image_count == 6
    for target, xnn in enumerate(found.xnns):
        request = pb.ListXnnScoresRequest(name="tiny", class_name=xnn.class_name)
        xnn_scores = [s for part in registered.calls.ListXnnScores(request) for s in part.xnn_scores]
        errors = (dnn[:, target] - xnn_scores)[known]
        assert xnn.rmse == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-3)
        of_class = dnn[known, target]
        assert (xnn.score_min, xnn.score_max) == pytest.approx((of_class.min(), of_class.max()), abs=1e-5)


def test_a_class_of_the_model_that_the_data_set_lacks_is_told(registered, tmp_path):
    folder = synthetic.write_image_folder(tmp_path / "less", train=6, test=2)
    registered.dataset(folder, "less", classes=["circle", "square"])
    job = registered.trained(dataset="less")
    assert job.state == SUCCEEDED, job.error
    assert list(job.warnings) == [
        "1 of the classes of the model is not in the data set and will have no xNN: cross",
        unchecked("circle", "square"),
    ]


def test_figures_of_the_set_are_unknown_while_xnns_of_an_older_data_set_are_in_it(on):
    """Earlier versions let a data set have other content after xNNs were trained on it."""
    inference = on()
    inference.trained(dataset="less")
    assert inference.xnn_set().HasField("argmax_agreement")
    with closing(sqlite3.connect(inference.data_dir / "inference.db")) as database, database:
        database.execute("UPDATE xnn SET settings_hash = 'of another data set' WHERE class_name <> 'circle'")
    inference.trained(dataset="less", classes=["cross"])
    assert not inference.xnn_set().HasField("argmax_agreement")
    inference.trained(dataset="less")
    assert inference.xnn_set().HasField("argmax_agreement")


# What is refused at once


def test_a_class_that_is_not_there_is_refused_with_those_that_are(registered):
    code, details = refusal(lambda: registered.trained(classes=["circle", "hat"]))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details == "class 'hat' is not in model 'tiny'; its 3 classes are circle, cross, square"


def test_a_model_and_a_data_set_without_a_common_class_are_refused(registered, program):
    registered.registered(program, "foreign", classes=["a", "b", "c"])
    code, details = refusal(lambda: registered.trained(model="foreign"))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert details.startswith(
        "model 'foreign' (a, b, c) and data set 'shapes' (circle, cross, square) have no class name in common"
    )


def test_a_name_taken_with_other_settings_is_refused(trained):
    code, details = refusal(lambda: trained.trained(settings=pb.XnnSettings(epochs=5, batch_size=24)))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert details == (
        "set 'tiny' was trained for model 'tiny' on 'shapes' with other settings; "
        "give this one another name (--name)"
    )


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"x_feature_count": 65}, "x_feature_count is 65; it must be 1 to 64"),
        ({"x_feature_count": -1}, "x_feature_count is -1; it must be 1 to 64"),
        ({"epochs": 1001}, "epochs is 1001; it must be 1 to 1000"),
        ({"batch_size": 1}, "batch_size is 1; it must be 2 to 65536"),
        ({"reconstruction_weight": -0.5}, "reconstruction_weight is -0.5; it must be finite"),
        ({"pull_away_weight": float("nan")}, "pull_away_weight is nan; it must be finite"),
        ({"reconstruction_q": float("inf")}, "reconstruction_q is inf; it must be finite"),
        ({"negatives_per_positive": -3}, "negatives_per_positive is -3; it must be finite and not negative"),
        ({"significant_share": 0.0}, "significant_share is 0.0; it must be in (0, 1]"),
        ({"significant_share": 1.5}, "significant_share is 1.5; it must be in (0, 1]"),
    ],
)
def test_settings_out_of_range_are_refused_with_their_value(registered, settings, line):
    code, details = refusal(lambda: registered.trained(settings=pb.XnnSettings(**settings)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(line)


def test_tf32_is_refused_by_a_server_without_a_gpu(registered):
    settings = pb.XnnSettings(precision=pb.PRECISION_TF32)
    code, details = refusal(lambda: registered.trained(settings=settings))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details == (
        "precision tf32 is that of an NVIDIA GPU, and there is none here; take float32 or bf16"
    )


def test_a_refused_request_starts_no_job(registered):
    before = len(registered.jobs.ListJobs(jobs_pb2.ListJobsRequest()).jobs)
    refusal(lambda: registered.trained(settings=pb.XnnSettings(epochs=-1)))
    assert len(registered.jobs.ListJobs(jobs_pb2.ListJobsRequest()).jobs) == before


@pytest.mark.parametrize("field", ["model", "dataset"])
def test_a_model_or_data_set_that_is_not_there_is_named(registered, field):
    code, details = refusal(lambda: registered.trained(**{field: "gone"}))
    assert code == grpc.StatusCode.NOT_FOUND
    assert "is named 'gone'" in details


@pytest.mark.parametrize("seed", [2**63 - 1, -(2**63)])
def test_every_seed_that_the_wire_carries_is_taken(registered, seed):
    job = registered.trained(classes=["circle"], settings=pb.XnnSettings(epochs=1, seed=seed))
    assert job.state == SUCCEEDED, job.error


# Other requests


def test_the_same_request_id_is_one_training(registered):
    first = registered.trained(request_id="once")
    assert registered.trained(request_id="once").job_id == first.job_id


def test_a_training_here_is_the_request_that_it_was_before_there_were_engines(registered):
    """So that what an earlier version began, `onoma demo` for one, is found again by its request id."""
    job = registered.trained(request_id="once")
    with sqlite3.connect(registered.data_dir / "inference.db") as database:
        [[params]] = database.execute("SELECT params FROM job WHERE job_id = ?", [job.job_id]).fetchall()
    assert sorted(json.loads(params)) == ["classes", "dataset", "keep_cells_of", "model", "name", "settings"]


def test_a_lost_network_is_named_with_the_way_out(registered):
    key = registered.model().onnx_key
    DirectoryStore(registered.data_dir / "objects").delete(key)
    line = f"the ONNX form of model 'tiny' is lost: no object {key}; register its program again under the same name"
    assert registered.trained().error == line
    request = pb.PredictRequest(model="tiny", image_ids=[registered.images("shapes")[0].image_id])
    assert refusal(lambda: registered.calls.Predict(request)) == (grpc.StatusCode.DATA_LOSS, line)
