"""A whole study out of one installation into another: the same statistics; bad archives are one clear line."""

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from onoma.client import (
    Addresses,
    AnalysisOptions,
    Client,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    ServerUnavailable,
)
from onoma.report.study import write_study_report
from onoma.study_archive import RefusedStudyArchive, export_study, import_study
from onoma.study_archive.zips import NewArchive
from onoma.v1 import naming_pb2
from services.up import local_settings, start_all
from tests.archives_of_maps import entries, packed, random_maps
from tests.conftest import OpenStudy

CATEGORIES = ["circle", "cross", "square"]
NAME = "to travel"


@pytest.fixture(scope="module")
def original(open_study: OpenStudy) -> Iterator[naming_pb2.Study]:
    """An open study with two annotators who have named, one who has not, a viewer, and words decided by hand."""
    client = open_study.client
    settings = naming_pb2.StudySettings(
        blind=False, suggestions=True, min_concept_images=1, seed=7, max_images_per_category=6
    )
    study = client.create_study(NAME, "tiny", "shapes", "tiny", CATEGORIES, settings=settings)
    client.compute_maps(study.study_id).wait()
    client.open_study(study.study_id)
    for person, words in (("Ada", ("rim", "whole")), ("Zoë שלום", ("edge", "thing"))):
        annotator_id = client.invite_annotator(study.study_id, person).annotator.annotator_id
        for category in CATEGORIES:
            naming = client.get_naming(study.study_id, annotator_id, category)
            half = sorted(naming.pool)[: len(naming.pool) // 2 + 1]
            for word, ids in zip(words, (half[::2], half[1::2]), strict=True):
                create = naming_pb2.CreateConcept(
                    concept_id=f"{category}-{word}", name=word, activation_ids=ids
                )
                naming = client.act(naming, naming_pb2.Command(create=create))
            discard = naming_pb2.DiscardActivations(
                activation_ids=naming.pool[:1], reason=naming_pb2.DISCARD_REASON_NOISE
            )
            naming = client.act(naming, naming_pb2.Command(discard=discard))
    client.invite_annotator(study.study_id, "Vic the viewer", role=naming_pb2.ROLE_VIEWER)
    client.invite_annotator(study.study_id, "Idle")
    vocabulary = client.get_vocabulary(study.study_id)
    vocabulary.synonyms.add(words=["rim", "edge"])
    client.set_vocabulary(study.study_id, vocabulary)
    client.overrule_labels(study.study_id, "whole", "thing", naming_pb2.LABEL_OUTCOME_SUBSET, "Ada")
    yield client.get_study(study.study_id)
    client.close_study(study.study_id)
    client.delete_study(study.study_id)  # the module may come again, and only one can have the name


@pytest.fixture(scope="module")
def archive(
    open_study: OpenStudy, original: naming_pb2.Study, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("archive") / "study.zip"
    export_study(open_study.client, original.study_id, path)
    return path


class _Killed(Exception):
    """Stands for a process that ends in the middle."""


def _import_and_be_killed_after(method: str, client: Client, archive: Path, name: str = "") -> None:
    called = getattr(Client, method)

    def last_words(self: Client, *arguments: object, **options: object) -> None:
        called(self, *arguments, **options)
        raise _Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, method, last_words)
        with pytest.raises(_Killed):
            import_study(client, archive, name)


@pytest.fixture(scope="module")
def there(
    archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Client, naming_pb2.Study]]:
    """A fresh installation: another data folder, another database; and the study there, after imports that were killed
    once the model, the pictures and the xNNs had come.
    """
    settings = local_settings(tmp_path_factory.mktemp("elsewhere") / "data", free_ports=True)
    running = start_all(settings, http_port=0)
    try:
        with Client(Addresses(**running.addresses)) as client:
            for method in ("register_model", "upload_dataset", "import_xnn_set"):
                _import_and_be_killed_after(method, client, archive)
                assert not list(client.list_studies())
            yield client, import_study(client, archive).study
    finally:
        running.stop()


@pytest.fixture
def elsewhere(there: tuple[Client, naming_pb2.Study]) -> Client:
    """The client of the other installation."""
    return there[0]


@pytest.fixture
def imported(there: tuple[Client, naming_pb2.Study]) -> naming_pb2.Study:
    """The study in the other installation."""
    return there[1]


def statistics(client: Client, study_id: str) -> dict[str, Any]:
    """Everything that can be computed of a study, with people by name."""
    people = {one.annotator_id: one.display_name for one in client.list_annotators(study_id)}
    namers = [id_ for id_, name in people.items() if not name.startswith("Vic")]
    found = {
        "coverage": [MessageToDict(one) for one in client.get_coverage(study_id)],
        "purity": [MessageToDict(one) for one in client.get_purity(study_id)],
        "summaries": [
            MessageToDict(client.get_summary(study_id, namer, category))
            for namer in namers
            for category in CATEGORIES
        ],
        "analysis": dict(client.analyse_categories(study_id, options=AnalysisOptions(shuffles=20, seed=1))),
    }
    text = json.dumps(found)
    for id_, name in people.items():
        text = text.replace(id_, f"<{json.dumps(name)[1:-1]}>")
    statistics: dict[str, Any] = json.loads(text)
    return statistics


def test_every_statistic_is_the_same(
    open_study: OpenStudy, original: naming_pb2.Study, elsewhere: Client, imported: naming_pb2.Study
) -> None:
    here, there = (
        statistics(open_study.client, original.study_id),
        statistics(elsewhere, imported.study_id),
    )
    assert len(here["coverage"]) >= 2 * len(CATEGORIES)
    assert here["analysis"].keys() == set(CATEGORIES)
    assert there == here


def test_the_study_itself_is_the_same(original: naming_pb2.Study, imported: naming_pb2.Study) -> None:
    for field in ("name", "model", "dataset", "part", "xnn_set", "categories", "settings", "state"):
        assert getattr(imported, field) == getattr(original, field), field
    assert imported.activation_count == original.activation_count
    assert imported.study_id != original.study_id


def test_maps_come_out_bit_by_bit_with_what_made_them(
    open_study: OpenStudy, original: naming_pb2.Study, elsewhere: Client, imported: naming_pb2.Study
) -> None:
    client = open_study.client
    columns = client.list_activations(original.study_id)
    assert elsewhere.list_activations(imported.study_id) == columns
    assert len(columns.activation_id) > 10
    ids = list(columns.activation_id)
    assert list(elsewhere.get_maps(imported.study_id, ids)) == list(client.get_maps(original.study_id, ids))
    assert elsewhere.list_explained_images(imported.study_id) == client.list_explained_images(
        original.study_id
    )
    assert elsewhere.get_map_provenance(imported.study_id) == client.get_map_provenance(original.study_id)
    alike = client.sort_by_similarity(original.study_id, "circle", ids[:1])
    assert elsewhere.sort_by_similarity(imported.study_id, "circle", ids[:1]) == alike


def test_table_1_and_the_pictures_are_the_same(
    open_study: OpenStudy, elsewhere: Client, imported: naming_pb2.Study
) -> None:
    client = open_study.client
    assert elsewhere.get_xnn_set(imported.xnn_set) == client.get_xnn_set("tiny")
    here = {image.path: image for image in client.list_images("shapes")}
    there = {image.path: image for image in elsewhere.list_images(imported.dataset)}
    assert 0 < len(there) < len(here)
    assert there == {path: here[path] for path in there}
    for image in there.values():
        assert elsewhere.get_image(image.image_id) == client.get_image(image.image_id)


def test_people_words_and_namings_come_along_and_links_do_not(
    open_study: OpenStudy, original: naming_pb2.Study, elsewhere: Client, imported: naming_pb2.Study
) -> None:
    here = open_study.client.list_annotators(original.study_id)
    there = elsewhere.list_annotators(imported.study_id)
    facts = ("display_name", "role", "named_count", "discarded_count")
    assert [[getattr(one, fact) for fact in facts] for one in there] == [
        [getattr(one, fact) for fact in facts] for one in here
    ]
    assert {one.link_state for one in there} == {naming_pb2.LINK_STATE_REVOKED}
    words, original_words = (
        elsewhere.get_vocabulary(imported.study_id),
        open_study.client.get_vocabulary(original.study_id),
    )
    assert words == original_words
    for category in CATEGORIES:
        before = open_study.client.get_naming(original.study_id, here[0].annotator_id, category)
        after = elsewhere.get_naming(imported.study_id, there[0].annotator_id, category)
        assert [(c.name, list(c.activation_ids)) for c in after.concepts] == [
            (c.name, list(c.activation_ids)) for c in before.concepts
        ]
        assert after.discards == before.discards


def test_the_archive_holds_no_secret(archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        said = json.loads(opened.read("study.json"))
        assert set().union(*said["annotators"]) == {"display_name", "role"}
        acts = [json.loads(line) for line in opened.read("acts.jsonl").splitlines()]
    assert len(acts) == 2 * len(CATEGORIES) * 3
    assert {"time", "command", "revision", "category"} <= acts[0].keys()


def _scripts_of_the_docs() -> list[str]:
    """How a study travels by Python, and how an archive is read without Onoma."""
    page = (Path(__file__).parents[2] / "docs" / "study-archives.md").read_text(encoding="utf-8")
    scripts = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(scripts) == 2
    return scripts


def test_the_script_of_the_docs_reads_it_without_onoma(
    archive: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    shutil.copy(archive, tmp_path / "first-look.zip")
    monkeypatch.chdir(tmp_path)
    exec(_scripts_of_the_docs()[1], {})
    assert re.fullmatch(r"Excitation Backprop \(\d+, 16, 16\)\n", capsys.readouterr().out)


def test_the_imported_study_goes_on(elsewhere: Client, imported: naming_pb2.Study, tmp_path: Path) -> None:
    person = elsewhere.list_annotators(imported.study_id)[0]
    token = elsewhere.renew_invitation(imported.study_id, person.annotator_id).token
    assert elsewhere.accept_invitation(token).annotator.display_name == "Ada"
    page = write_study_report(elsewhere, imported, tmp_path).read_text(encoding="utf-8")
    assert "Excitation Backprop" in page
    picture = elsewhere.get_image(elsewhere.list_activations(imported.study_id).image_id[0]).content
    explained = elsewhere.explain_image(
        imported.study_id, person.annotator_id, content=picture, category="circle"
    )
    assert explained.activations
    with pytest.raises(FailedPrecondition, match="came with a study, without the pictures"):
        elsewhere.list_xnn_scores(imported.xnn_set, "circle")
    settings = elsewhere.get_xnn_set(imported.xnn_set).settings
    with pytest.raises(FailedPrecondition, match=r"trained elsewhere and came with a study.*--name"):
        elsewhere.train_xnn(imported.xnn_set, imported.model, imported.dataset, settings=settings)


def test_the_same_archive_twice_is_one_study_and_changes_nothing(
    elsewhere: Client, imported: naming_pb2.Study, archive: Path
) -> None:
    person = elsewhere.list_annotators(imported.study_id)[0]
    token = elsewhere.renew_invitation(imported.study_id, person.annotator_id).token
    before = statistics(elsewhere, imported.study_id)
    counts = len(list(elsewhere.list_studies())), len(list(elsewhere.list_datasets()))
    again = import_study(elsewhere, archive).study
    assert again.study_id == imported.study_id
    assert (len(list(elsewhere.list_studies())), len(list(elsewhere.list_datasets()))) == counts
    assert statistics(elsewhere, imported.study_id) == before
    assert elsewhere.accept_invitation(token).annotator.annotator_id == person.annotator_id


def test_the_same_archive_again_mends_damaged_weights_and_programs(
    elsewhere: Client, imported: naming_pb2.Study, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    xnns = elsewhere.get_xnn_set(imported.xnn_set).xnns
    keys = [xnns[0].weights_key, elsewhere.get_model(imported.model).model_hash]
    for key in keys:
        for file in tmp_path_factory.getbasetemp().glob(f"elsewhere*/data/objects/{key[:2]}/{key}"):
            file.write_bytes(b"damaged")
        with pytest.raises(DataLoss):
            list(elsewhere.get_object(key))
    import_study(elsewhere, archive)
    for key in keys:
        assert hashlib.sha256(b"".join(elsewhere.get_object(key))).hexdigest() == key


def test_another_name_is_another_study_of_the_same_model_and_pictures(
    elsewhere: Client, imported: naming_pb2.Study, archive: Path
) -> None:
    second = import_study(elsewhere, archive, "second").study
    assert second.name == "second"
    assert second.study_id != imported.study_id
    assert (second.model, second.dataset, second.xnn_set) == (
        imported.model,
        imported.dataset,
        imported.xnn_set,
    )
    assert statistics(elsewhere, second.study_id) == statistics(elsewhere, imported.study_id)


def test_what_has_the_same_name_here_is_left_alone(
    open_study: OpenStudy, elsewhere: Client, imported: naming_pb2.Study, tmp_path: Path
) -> None:
    """Another study of the same data set has other images, so that its part of the data set needs a name beside it."""
    client = open_study.client
    closed = client.create_study("of all images", "tiny", "shapes", "tiny", CATEGORIES)
    client.compute_maps(closed.study_id).wait()
    client.open_study(closed.study_id)
    client.close_study(closed.study_id)
    export_study(client, closed.study_id, tmp_path / "all.zip")
    before = list(elsewhere.list_images(imported.dataset))
    taken = import_study(elsewhere, tmp_path / "all.zip")
    assert re.fullmatch("shapes-[0-9a-f]{8}", taken.study.dataset)
    assert taken.study.state == naming_pb2.STUDY_STATE_CLOSED
    assert any("another data set is named 'shapes' here" in line for line in taken.warnings)
    assert list(elsewhere.list_images(imported.dataset)) == before
    assert import_study(elsewhere, tmp_path / "all.zip").study == taken.study


@pytest.mark.parametrize(
    "method",
    [
        "create_study",
        "import_study_maps",
        "revoke_invitation",
        "open_study",
        "import_namings",
        "set_vocabulary",
        "overrule_labels",
    ],
)
def test_an_import_that_was_killed_goes_on_to_the_same_end(
    elsewhere: Client, imported: naming_pb2.Study, archive: Path, method: str
) -> None:
    """Those of what stands below the study, `imported` was killed after."""
    name = f"killed after {method}"
    _import_and_be_killed_after(method, elsewhere, archive, name)
    study = import_study(elsewhere, archive, name).study
    assert len([one for one in elsewhere.list_studies() if one.name == name]) == 1
    assert statistics(elsewhere, study.study_id) == statistics(elsewhere, imported.study_id)
    assert len(elsewhere.get_vocabulary(study.study_id).overrulings) == 1


def test_a_study_of_imported_maps_travels_with_the_word_of_their_maker(
    open_study: OpenStudy, elsewhere: Client, tmp_path: Path
) -> None:
    client = open_study.client
    images = list(client.list_images("shapes", class_name="cross"))[:4]
    rows = [(image.path, "cross", unit, 2.0 - unit) for image in images for unit in (0, 1)]
    maps = packed(entries(rows, random_maps(len(rows)), already_significant=True))
    study = client.create_study("others' maps", "tiny", "shapes", "", ["cross"])
    client.import_maps(study.study_id, maps).wait()
    export_study(client, study.study_id, tmp_path / "maps.zip")
    there = import_study(elsewhere, tmp_path / "maps.zip").study
    assert there.state == naming_pb2.STUDY_STATE_DRAFT
    assert there.xnn_set == ""
    made_by = elsewhere.get_map_provenance(there.study_id)
    assert made_by.archive_hash == hashlib.sha256(maps).hexdigest()
    assert made_by == client.get_map_provenance(study.study_id)
    columns = client.list_activations(study.study_id)
    assert elsewhere.list_activations(there.study_id) == columns
    ids = list(columns.activation_id)
    assert list(elsewhere.get_maps(there.study_id, ids)) == list(client.get_maps(study.study_id, ids))


def test_a_study_without_maps_is_not_exported(open_study: OpenStudy, tmp_path: Path) -> None:
    study = open_study.client.create_study("no maps", "tiny", "shapes", "tiny", CATEGORIES)
    with pytest.raises(FailedPrecondition, match=r"has no maps yet .onoma maps compute"):
        export_study(open_study.client, study.study_id, tmp_path / "study.zip")
    assert not list(tmp_path.iterdir())


def _repacked(archive: Path, to: Path, change) -> Path:
    """The archive with its entries changed by `change(entries)`; the manifest is made anew unless it is given."""
    with zipfile.ZipFile(archive) as opened:
        content = {name: opened.read(name) for name in opened.namelist()}
    manifest = json.loads(content.pop("manifest.json"))
    change(content)
    given = content.pop("manifest.json", None)
    with zipfile.ZipFile(to, "w") as made:
        new = NewArchive(made)
        for name, data in content.items():
            new.write(name, [data])
        manifest["entries"] = new.hashes
        made.writestr("manifest.json", given or json.dumps(manifest))
    return to


def _manifest(archive: Path, **changes: object) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        return json.dumps(json.loads(opened.read("manifest.json")) | changes).encode()


def _cut_off(archive: Path, to: Path) -> None:
    to.write_bytes(archive.read_bytes()[:-1000])


def _flipped(archive: Path, to: Path) -> None:
    """One byte of an object is another."""
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        info = next(info for info in opened.infolist() if info.filename.startswith("objects/"))
    data[info.header_offset + 30 + len(info.filename) + 40] ^= 1
    to.write_bytes(data)


def _foreign(archive: Path, to: Path) -> None:
    with zipfile.ZipFile(to, "w") as made:
        made.writestr("holiday.jpg", b"x")


def _maps(archive: Path, to: Path) -> None:
    to.write_bytes(packed(entries([("a", "circle", 0, 1.0)], random_maps(1))))


def _no_zip(archive: Path, to: Path) -> None:
    to.write_bytes(b"not a zip" * 100)


def _outside(archive: Path, to: Path) -> None:
    shutil.copy(archive, to)
    with zipfile.ZipFile(to, "a") as made:
        made.writestr("../../etc/cron.d/x", b"x")


def _unlisted(archive: Path, to: Path) -> None:
    shutil.copy(archive, to)
    with zipfile.ZipFile(to, "a") as made:
        made.writestr(f"objects/{'0' * 64}", b"x")


def _newer(archive: Path, to: Path) -> None:
    _repacked(
        archive, to, lambda c: c.update({"manifest.json": _manifest(archive, version=2, onoma_version="9.9")})
    )


def _changed(archive: Path, to: Path) -> None:
    """The JSON is changed and the manifest is as it was."""

    def change(content: dict[str, bytes]) -> None:
        content["manifest.json"] = _manifest(archive)
        content["study.json"] = content["study.json"].replace(b"Ada", b"Eve")

    _repacked(archive, to, change)


def _missing(archive: Path, to: Path) -> None:
    def change(content: dict[str, bytes]) -> None:
        del content[next(name for name in content if name.startswith("objects/"))]

    _repacked(archive, to, change)


def _other_message(archive: Path, to: Path) -> None:
    _repacked(archive, to, lambda content: content.update({"maps.json": b'{"colour": "red"}'}))


def _twice(archive: Path, to: Path) -> None:
    shutil.copy(archive, to)
    with zipfile.ZipFile(to, "a") as made, pytest.warns(UserWarning, match="Duplicate name"):
        made.writestr("study.json", b"{}")


def _packed_object(archive: Path, to: Path) -> None:
    data = bytes(1 << 20)
    shutil.copy(archive, to)
    with zipfile.ZipFile(to, "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr(f"objects/{hashlib.sha256(data).hexdigest()}", data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_zip, "is no zip archive"),
        (_cut_off, "is no zip archive, or its end is missing; copy it again"),
        (_flipped, r"objects/[0-9a-f]{64} is damaged"),
        (_foreign, r"has no manifest.json: `onoma study export` did not write it"),
        (_maps, r'does not say "format": "onoma-study"; take maps in with `onoma maps import`'),
        (_outside, r"entry '../../etc/cron.d/x' points out of the archive"),
        (_unlisted, "entry 'objects/0+' is not in the manifest"),
        (_newer, r"of version 2, written by Onoma '9.9'; this Onoma reads version 1"),
        (_changed, r"entry study.json has the SHA-256 .*the manifest says .*damaged or changed"),
        (_missing, r"has no objects/[0-9a-f]{64}, which the study needs"),
        (_other_message, r"maps.json does not hold what it should: .*colour"),
        (_twice, "two entries of one name"),
        (_packed_object, "is compressed; objects are stored as they are"),
    ],
)
def test_a_bad_archive_is_one_clear_line_and_changes_nothing(
    archive: Path, tmp_path: Path, spoil, message: str
) -> None:
    bad = tmp_path / "bad.zip"
    spoil(archive, bad)
    with (
        Client(Addresses(*["127.0.0.1:1"] * 4)) as nobody,  # a call would raise ServerUnavailable
        pytest.raises(RefusedStudyArchive, match=message) as raised,
    ):
        import_study(nobody, bad)
    assert "\n" not in str(raised.value)


def test_a_bomb_in_place_of_an_entry_is_not_unpacked(archive: Path, tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("manifest.json", _manifest(archive))
        with made.open("study.json", "w") as entry:
            for _ in range(300):
                entry.write(bytes(1 << 20))
    (tmp_path / "bomb.zip").write_bytes(data.getvalue())
    with (
        Client(Addresses(*["127.0.0.1:1"] * 4)) as nobody,
        pytest.raises(RefusedStudyArchive, match=r"'study.json' has 314,572,800 bytes unpacked; at most"),
    ):
        import_study(nobody, tmp_path / "bomb.zip")


def _image_broken(entries: dict[str, bytes]) -> None:
    was = json.loads(entries["dataset.json"])["images"][-1]["image_id"]
    broken = b"no picture"
    key = hashlib.sha256(broken).hexdigest()
    for name in ("dataset.json", "maps.json"):
        entries[name] = entries[name].replace(was.encode(), key.encode())
    del entries[f"objects/{was}"]
    entries[f"objects/{key}"] = broken


def test_an_import_that_is_refused_a_picture_leaves_no_data_set(
    elsewhere: Client, imported: naming_pb2.Study, archive: Path, tmp_path: Path
) -> None:
    bad = _repacked(archive, tmp_path / "bad.zip", _image_broken)
    before = [one.name for one in elsewhere.list_datasets()]
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match=r"nothing of the upload of 'shapes-.* cannot be taken"):
            import_study(elsewhere, bad, "refused")
    assert [one.name for one in elsewhere.list_datasets()] == before


def test_a_log_of_acts_of_any_size_comes_along(
    elsewhere: Client, imported: naming_pb2.Study, archive: Path, tmp_path: Path, monkeypatch
) -> None:
    with zipfile.ZipFile(archive) as opened:
        largest = max(info.file_size for info in opened.infolist() if info.filename.endswith(".json"))
    monkeypatch.setattr("onoma.study_archive.zips._MAX_JSON_BYTES", largest)
    longer = _repacked(
        archive, tmp_path / "long.zip", lambda entries: entries.update({"acts.jsonl": bytes(largest + 1)})
    )
    assert import_study(elsewhere, longer, "long log").study.name == "long log"


def test_what_no_import_would_take_is_not_exported(
    open_study: OpenStudy, original: naming_pb2.Study, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("onoma.study_archive.zips._MAX_JSON_BYTES", 1000)
    with pytest.raises(ValueError, match=r"json would have more than 1,000 bytes unpacked, which no import"):
        export_study(open_study.client, original.study_id, tmp_path / "study.zip")
    assert not list(tmp_path.iterdir())


def test_what_has_changed_below_a_study_since_its_import_is_said(
    elsewhere: Client, imported: naming_pb2.Study, archive: Path, monkeypatch
) -> None:
    monkeypatch.setattr(Client, "create_study", partialmethod(_with_other_categories, Client.create_study))
    with pytest.raises(InvalidArgument, match=r"was imported before as study .*under another name") as raised:
        import_study(elsewhere, archive)
    assert isinstance(raised.value.__cause__, InvalidArgument)
    assert raised.value.__cause__.reason == "REQUEST_ID_REUSED"


def _with_other_categories(client, create, name, model, dataset, xnn_set, categories, **options):
    return create(client, name, model, dataset, xnn_set, categories[:1], **options)


def test_with_nobody_there_the_archive_is_kept_and_the_error_says_so(archive: Path) -> None:
    with (
        Client(Addresses(*["127.0.0.1:1"] * 4), timeout_s=1) as nobody,
        pytest.raises(ServerUnavailable, match=r"at 127\.0\.0\.1:1"),
    ):
        import_study(nobody, archive)


def test_by_commands(
    onoma, open_study, original, elsewhere, imported, archive, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "by-command.zip"
    code, text = onoma("study", "export", NAME, "--out", str(out), "--json")
    assert code == 0, text
    assert json.loads(text[text.index("{") : text.rindex("}") + 1])["annotators"] == 4
    assert "export" in text  # the bar
    for service, address in elsewhere._transport._addresses.__dict__.items():
        monkeypatch.setenv(f"ONOMA_{service.upper()}_ADDRESS", address)
    code, text = onoma("study", "import", str(out), "--name", "by command")
    assert code == 0, text
    assert "4 people came along without links" in text
    assert f"onoma study renew {elsewhere.get_study('by command').study_id} NAME" in text
    code, text = onoma("study", "import", str(out), "--name", "by command", "--json")
    assert code == 0, text
    found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert (found["name"], found["state"], found["annotators"]) == ("by command", "open", 4)
    code, text = onoma("study", "import", str(open_study.images / "train" / "circle" / "circle_000.png"))
    assert code == 1
    assert "is no zip archive" in text


def test_where_another_study_has_its_name_the_imported_one_stands_beside_it(
    open_study: OpenStudy, original: naming_pb2.Study, archive: Path
) -> None:
    """Where it came from: the copy stands beside the original, on the same model, data set and xNNs."""
    client = open_study.client
    _import_and_be_killed_after("create_study", client, archive)
    taken = import_study(client, archive)
    assert (taken.study.model, taken.study.dataset, taken.study.xnn_set) == ("tiny", "shapes", "tiny")
    assert re.fullmatch(f"{NAME}-[0-9a-f]{{8}}", taken.study.name)
    assert taken.warnings == [f"another study is named '{NAME}' here; this one is '{taken.study.name}'"]
    assert client.get_study(NAME).study_id == original.study_id
    assert import_study(client, archive).study == taken.study


def test_the_script_of_the_docs_takes_a_study_out_and_in(
    open_study: OpenStudy, original: naming_pb2.Study, tmp_path: Path, monkeypatch, capsys
) -> None:
    """Where it came from, which has the study's name already."""
    monkeypatch.chdir(tmp_path)
    for service, address in open_study.client._transport._addresses.__dict__.items():
        monkeypatch.setenv(f"ONOMA_{service.upper()}_ADDRESS", address)
    exec(_scripts_of_the_docs()[0].replace('"first look"', repr(original.study_id)), {})
    assert re.fullmatch(f"{NAME}-[0-9a-f]{{8}}\n", capsys.readouterr().out)
    assert (tmp_path / "first-look.zip").is_file()
