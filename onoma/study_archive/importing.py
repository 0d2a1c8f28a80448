"""Takes a study out of an archive into an installation. The same archive again goes on where it stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

from onoma.client import Client, InvalidArgument, NotFound
from onoma.study_archive import zips
from onoma.study_archive.contents import Contents, read
from onoma.study_archive.zips import Archive, object_entry, opened
from onoma.v1 import inference_pb2, naming_pb2

Progress = Callable[[int, int], None]
Found = TypeVar("Found")
_MAX_NAME = 64  # of models, data sets and sets of xNNs
_MAX_STUDY_NAME = 200
_MARK = 8


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Attributes:
        study: as it is here: with the names that its model, data set and xNNs got.
        warnings: things worth knowing, one line each.
    """

    study: naming_pb2.Study
    annotator_count: int
    warnings: list[str] = field(default_factory=list)


def import_study(client: Client, path: Path, name: str = "", progress: Progress | None = None) -> Imported:
    """Takes the study over with its statistics as they are.

    A model, data set or set of xNNs that is here already is used; where something else has its name, it is stored
    beside it under NAME-MARK, as is the study. The same archive under the same name is one study, however often it is
    imported.

    Args:
        name: of the study here, unless another has it; as it was named where it comes from when empty.
        progress: called with the entries done and in all; each is checked once, then taken once.
    Raises:
        RefusedStudyArchive: the file is no archive, or not whole; nothing is changed then.
        OnomaError: a service refuses a part; what came before it stays, and the import can be run again.
    """
    with opened(path) as archive:
        total, done = 2 * len(archive.hashes), count(1)

        def advance() -> None:
            if progress:
                progress(next(done), total)

        archive.check(advance)
        return _Import(client, archive, read(archive), advance).run(name)


@dataclass(frozen=True, eq=False)
class _Import:
    """One import, from the archive to the study."""

    client: Client
    archive: Archive
    content: Contents
    advance: Callable[[], None]
    warnings: list[str] = field(default_factory=list)

    def run(self, name: str) -> Imported:
        content, client = self.content, self.client
        model = self._model()
        dataset = self._dataset()
        xnn_set = self._xnn_set(model, dataset)
        study = self._study(name or content.study.name, model, dataset, xnn_set)
        self._maps(study)
        self._annotators(study)
        was_open = content.study.state in (naming_pb2.STUDY_STATE_OPEN, naming_pb2.STUDY_STATE_CLOSED)
        if was_open and study.state == naming_pb2.STUDY_STATE_DRAFT:
            study = client.open_study(study.study_id)
        self._namings(study)
        self._vocabulary(study)
        if content.study.state == naming_pb2.STUDY_STATE_CLOSED:
            client.close_study(study.study_id)
        return Imported(client.get_study(study.study_id), len(content.annotators), self.warnings)

    def _model(self) -> str:
        wanted = self.content.model

        def is_same(found: inference_pb2.Model) -> bool:
            chosen = ("model_hash", "classes", "preprocessing", "attachment_layer", "map_layer", "mode")
            return all(getattr(found, field) == getattr(wanted, field) for field in chosen)

        def make(name: str) -> None:
            job = self.client.register_model(
                name,
                self._object(wanted.model_hash),
                classes=wanted.classes,
                preprocessing=wanted.preprocessing,
                attachment_layer=wanted.attachment_layer,
                map_layer=wanted.map_layer,
                mode=wanted.mode,
            )
            job.wait()
            self.warnings.extend(job.message.warnings)

        made = self._placed("model", wanted.name, self.client.get_model, is_same, make)
        self.client.upload_object(self._object(wanted.model_hash))  # mends a damaged one
        self.advance()  # model.json
        self.advance()  # the program
        return made

    def _dataset(self) -> str:
        content, client = self.content, self.client
        wanted = {image.path: image for image in content.images}

        def is_same(found: inference_pb2.Dataset) -> bool:
            if list(found.classes) != list(content.classes):
                return False
            has = {image.path: image for image in client.list_images(found.name, part=content.study.part)}
            return all(has.get(path) == image for path, image in wanted.items())

        def pictures() -> Iterator[tuple[inference_pb2.Image, bytes]]:
            for image in content.images:
                yield image, self._object(image.image_id)

        def make(name: str) -> None:
            client.upload_dataset(name, content.classes, pictures(), all_or_nothing=True)

        made = self._placed("data set", content.dataset, client.get_dataset, is_same, make)
        for _ in {image.image_id for image in content.images}:
            self.advance()
        self.advance()  # dataset.json
        return made

    def _xnn_set(self, model: str, dataset: str) -> str:
        if self.content.xnn_set is None:
            return ""
        wanted = inference_pb2.XnnSet()
        wanted.CopyFrom(self.content.xnn_set)
        wanted.model, wanted.dataset = model, dataset

        def is_same(found: inference_pb2.XnnSet) -> bool:
            wanted.name = found.name
            return found == wanted

        def make(name: str) -> None:
            wanted.name = name
            self.client.import_xnn_set(wanted)

        for key in {xnn.weights_key for xnn in wanted.xnns}:
            self.client.upload_object(self._object(key))
            self.advance()
        made = self._placed("set of xNNs", self.content.xnn_set.name, self.client.get_xnn_set, is_same, make)
        self.advance()  # xnns.json
        return made

    def _study(self, name: str, model: str, dataset: str, xnn_set: str) -> naming_pb2.Study:
        was = self.content.study
        try:
            study = self.client.create_study(
                name,
                model,
                dataset,
                xnn_set,
                was.categories,
                part=was.part,
                settings=was.settings,
                request_id=self._request_id(name),
            )
        except InvalidArgument as error:
            if error.reason != "REQUEST_ID_REUSED":
                raise
            raise InvalidArgument(
                f"this archive was imported before as study '{name}', and the data set, model or xNNs of that study "
                "have changed since; import it under another name (--name)"
            ) from error
        # Renamed only now: that the study of this name came with an earlier import, its request id alone tells.
        others = {one.name for one in self.client.list_studies() if one.study_id != study.study_id}
        beside = self._beside(name, _MAX_STUDY_NAME)
        if study.name in others:
            study = self.client.rename_study(study.study_id, beside)
        if study.name == beside:
            self.warnings.append(f"another study is named '{name}' here; this one is '{beside}'")
        self.advance()  # study.json
        return study

    def _maps(self, study: naming_pb2.Study) -> None:
        for key in self.content.maps.shard_keys:
            self.client.upload_object(self._object(key))
            self.advance()
        job = self.client.import_study_maps(study.study_id, self.archive.read(zips.MAPS))
        job.wait()
        self.warnings.extend(job.message.warnings)
        self.advance()  # maps.json

    def _annotators(self, study: naming_pb2.Study) -> None:
        """Everyone who is not there yet, with a link that lets nobody in: tokens do not travel."""
        there = {one.display_name for one in self.client.list_annotators(study.study_id)}
        for one in self.content.annotators:
            if one.display_name not in there:
                invited = self.client.invite_annotator(study.study_id, one.display_name, role=one.role)
                self.client.revoke_invitation(study.study_id, invited.annotator.annotator_id)

    def _namings(self, study: naming_pb2.Study) -> None:
        for entry in self.content.namings:
            document = self.archive.read(entry).decode()
            self.client.import_namings(
                study.study_id, document, request_id=self._request_id(f"{study.study_id}/{entry}")
            )
            self.advance()
        if zips.ACTS in self.archive.hashes:  # the log is for people to read; namings come as they stood
            self.advance()

    def _vocabulary(self, study: naming_pb2.Study) -> None:
        """Synonyms, vague words and decisions; those that were changed here since are left alone."""
        wanted = self.content.vocabulary
        has = self.client.get_vocabulary(study.study_id)
        if not has.revision and wanted.revision:
            wanted_words = naming_pb2.Vocabulary(synonyms=wanted.synonyms, vague_words=wanted.vague_words)
            has = self.client.set_vocabulary(study.study_id, wanted_words)
        done = len(has.overrulings)
        if list(has.overrulings) == list(wanted.overrulings)[:done]:
            for one in list(wanted.overrulings)[done:]:
                self.client.overrule_labels(
                    study.study_id, one.first, one.second, one.outcome, one.decided_by, time=one.time
                )

    def _object(self, key: str) -> bytes:
        return self.archive.read(object_entry(key))

    def _request_id(self, what: str) -> str:
        """The same for the same archive and thing, so that a service knows what it has done."""
        return hashlib.sha256(f"{self.archive.fingerprint}/{what}".encode()).hexdigest()

    def _beside(self, name: str, most: int) -> str:
        """A name for what comes with this archive where something else has its own."""
        return f"{name[: most - _MARK - 1]}-{self.archive.fingerprint[:_MARK]}"

    def _placed(
        self,
        what: str,
        name: str,
        find: Callable[[str], Found],
        is_same: Callable[[Found], bool],
        make: Callable[[str], None],
    ) -> str:
        """The name that a thing has here, made where it is not there yet."""
        beside = self._beside(name, _MAX_NAME)
        for candidate in (name, beside):
            try:
                found = find(candidate)
            except NotFound:
                make(candidate)
            else:
                if not is_same(found):
                    continue
            if candidate != name:
                self.warnings.append(f"another {what} is named '{name}' here; this one is '{candidate}'")
            return candidate
        raise ValueError(
            f"{what} '{beside}' came with this archive before and is another one now; give the archive's a place by "
            "exporting it anew"
        )
