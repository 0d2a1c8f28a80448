"""The job that explains a study's images: activations and maps, shard by shard.

A shard's object is durable before its rows are committed, and its rows are committed in one transaction; so a job that
was killed goes on after the last shard, and nothing is written twice.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from sqlalchemy import Engine
from sqlmodel import Session, col, func, select

from onoma.science.pictures import BrokenPicture, decode
from onoma.v1 import inference_pb2, naming_pb2, types_pb2
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from services.attribution.explainers import MODES, Explained, Explainers
from services.attribution.shards import pack
from services.attribution.tables import Activation, ExplainedImage, MapRun
from services.runtime.database import session
from services.runtime.errors import DataLoss, FailedPrecondition, NotFound
from services.runtime.jobs import JobContext
from services.runtime.objects import ObjectStore
from services.runtime.peers import asking

_TIMEOUT_S = 60.0
_BATCH_IMAGES = 16
_SHARD_MAPS = 1000
_PUBLISHED_AT_ONCE = 5000


@dataclass(frozen=True, eq=False)
class Plan:
    """What a study's maps are made of."""

    study: naming_pb2.Study
    model: inference_pb2.Model
    xnn_set: inference_pb2.XnnSet


def fetch_plan(inference: InferenceServiceStub, naming: NamingServiceStub, study_id: str) -> Plan:
    """The study with its model and xNNs, from the services that own them."""
    with asking("naming"):
        study = naming.GetStudy(naming_pb2.GetStudyRequest(study_id=study_id), timeout=_TIMEOUT_S).study
    with asking("inference"):
        model = inference.GetModel(inference_pb2.GetModelRequest(name=study.model), timeout=_TIMEOUT_S).model
        xnn_set = inference.GetXnnSet(
            inference_pb2.GetXnnSetRequest(name=study.xnn_set), timeout=_TIMEOUT_S
        ).xnn_set
    return Plan(study, model, xnn_set)


def compute(
    context: JobContext,
    engine: Engine,
    store: ObjectStore,
    explainers: Explainers,
    inference: InferenceServiceStub,
    naming: NamingServiceStub,
) -> dict[str, Any]:
    """The job.

    Raises:
        FailedPrecondition: model or xNNs are not those that the study's first maps were made with.
        ResourceExhausted: the disk is full; what was committed stays, and the job can be resumed.
    """
    plan = fetch_plan(inference, naming, context.params["study_id"])
    run = _run(engine, plan)
    images = {category: _chosen(inference, plan.study, category) for category in plan.study.categories}
    context.stage("drawing maps", sum(map(len, images.values())))
    for category, image_ids in images.items():
        if not image_ids:
            context.warn(f"category '{category}' has no image in this part of '{plan.study.dataset}'")
        explained = _explained_ids(engine, run.study_id, category)
        context.advance(len(explained.intersection(image_ids)))
        pending = [image_id for image_id in image_ids if image_id not in explained]
        for shard in _shards(context, store, explainers, plan, category, pending):
            _commit(engine, store, run, plan, category, shard)
    context.stage("publishing", 0)
    _publish(engine, naming, run.study_id)
    return _counts(engine, run.study_id)


def _run(engine: Engine, plan: Plan) -> MapRun:
    """The study's run, made at its first computation and the same ever after."""
    keys = [xnn.weights_key for xnn in plan.xnn_set.xnns if xnn.class_name in plan.study.categories]
    wanted = MapRun(
        study_id=plan.study.study_id,
        salt=secrets.token_hex(16),
        model=plan.model.name,
        model_hash=plan.model.model_hash,
        xnn_set=plan.xnn_set.name,
        xnn_hash=hashlib.sha256("\n".join(keys).encode()).hexdigest(),
        attachment_layer=plan.model.attachment_layer,
        map_layer=plan.model.map_layer,
        map_height=plan.model.map_height,
        map_width=plan.model.map_width,
        mode=MODES[plan.model.mode],
        significant_share=plan.study.settings.significant_share,
        version=version("onoma"),
    )
    with session(engine) as opened:
        found = opened.get(MapRun, wanted.study_id)
        if found is None:
            opened.add(wanted)
            opened.flush()
            found = wanted
        elif (found.model_hash, found.xnn_hash) != (wanted.model_hash, wanted.xnn_hash):
            raise FailedPrecondition(
                f"study '{plan.study.name}' has maps of other xNNs; make a new study for the new ones",
                "OTHER_XNNS",
            )
        opened.expunge(found)
    return found


def _chosen(inference: InferenceServiceStub, study: naming_pb2.Study, category: str) -> list[str]:
    """Ids of the images of a category: all, or so many in a seeded order; sorted, each once."""
    ids: set[str] = set()
    token = ""
    while True:
        with asking("inference"):
            response = inference.ListImages(
                inference_pb2.ListImagesRequest(
                    dataset=study.dataset,
                    part=study.part,
                    class_name=category,
                    page_size=10_000,
                    page_token=token,
                ),
                timeout=_TIMEOUT_S,
            )
        ids.update(image.image_id for image in response.images)
        token = response.next_page_token
        if not token:
            break
    most = study.settings.max_images_per_category or len(ids)
    seed = str(study.settings.seed)
    return sorted(sorted(ids, key=lambda i: hashlib.sha256(f"{seed} {i}".encode()).digest())[:most])


@dataclass(frozen=True, eq=False)
class _Batch:
    image_ids: list[str]
    explained: Explained


def _shards(
    context: JobContext,
    store: ObjectStore,
    explainers: Explainers,
    plan: Plan,
    category: str,
    image_ids: list[str],
) -> Iterator[list[_Batch]]:
    """Explained images, gathered until they hold about a thousand maps."""
    gathered: list[_Batch] = []
    for start in range(0, len(image_ids), _BATCH_IMAGES):
        context.check()
        readable = {
            image_id: content
            for image_id in image_ids[start : start + _BATCH_IMAGES]
            if (content := _readable(context, store, image_id)) is not None
        }
        context.advance(min(_BATCH_IMAGES, len(image_ids) - start))
        if not readable:
            continue
        explained = explainers.explain(
            plan.model, plan.xnn_set, category, list(readable.values()), plan.study.settings.significant_share
        )
        gathered.append(_Batch(list(readable), explained))
        if sum(len(batch.explained.rows) for batch in gathered) >= _SHARD_MAPS:
            yield gathered
            gathered = []
    if gathered:
        yield gathered


def _readable(context: JobContext, store: ObjectStore, image_id: str) -> bytes | None:
    """The image's bytes; None, with a warning, where they are gone, damaged or do not decode."""
    try:
        content = store.get(image_id)
        decode(content)
    except (BrokenPicture, DataLoss, NotFound) as error:
        context.warn(f"image {image_id[:12]}: {error}; left out")
        return None
    return content


def _commit(
    engine: Engine, store: ObjectStore, run: MapRun, plan: Plan, category: str, shard: list[_Batch]
) -> None:
    maps = np.concatenate([batch.explained.maps for batch in shard])
    data, scales, checksums = pack(maps) if len(maps) else (b"", np.zeros(0, np.float32), [])
    shard_key = store.put(data) if len(maps) else ""
    store.flush()
    rows: list[ExplainedImage | Activation] = []
    index = 0
    for batch in shard:
        found = batch.explained
        counts = np.bincount(found.rows, minlength=len(batch.image_ids))
        rows += [
            ExplainedImage(
                study_id=run.study_id,
                category=category,
                image_id=image_id,
                dnn_score=float(found.dnn_scores[i]),
                xnn_score=float(found.xnn_scores[i]),
                predicted_class=plan.model.classes[int(found.predicted[i])],
                significant_count=int(counts[i]),
            )
            for i, image_id in enumerate(batch.image_ids)
        ]
        for j, row in enumerate(found.rows):
            image_id, x_feature = batch.image_ids[int(row)], int(found.x_features[j])
            rows.append(
                Activation(
                    study_id=run.study_id,
                    activation_id=_activation_id(run.salt, category, image_id, x_feature),
                    category=category,
                    image_id=image_id,
                    x_feature=x_feature,
                    x=float(found.values[j]),
                    contribution=float(found.contributions[j]),
                    share=float(found.shares[j]),
                    map_sum=float(found.map_sums[j]),
                    map_scale=float(scales[index]),
                    shard_key=shard_key,
                    shard_index=index,
                    crc32=checksums[index],
                )
            )
            index += 1
    with session(engine) as opened:
        opened.add_all(rows)


def _activation_id(salt: str, category: str, image_id: str, x_feature: int) -> str:
    """Opaque: without the salt nothing in it tells the X-feature."""
    content = f"{category}\0{image_id}\0{x_feature}".encode()
    return hashlib.blake2b(content, key=bytes.fromhex(salt), digest_size=8).hexdigest()


def _explained_ids(engine: Engine, study_id: str, category: str) -> set[str]:
    row = ExplainedImage
    query = select(row.image_id).where(row.study_id == study_id, row.category == category)
    with Session(engine) as opened:
        return set(opened.exec(query))


def _publish(engine: Engine, naming: NamingServiceStub, study_id: str) -> None:
    """Tells naming which activations there are; the X-feature columns stay here."""
    columns = (col(Activation.activation_id), col(Activation.image_id), col(Activation.category))
    query = select(*columns).where(Activation.study_id == study_id).order_by(columns[0])
    with Session(engine) as opened:
        found = list(opened.exec(query))

    def batches() -> Iterator[naming_pb2.PublishActivationsRequest]:
        for start in range(0, max(len(found), 1), _PUBLISHED_AT_ONCE):
            ids, images, categories = (
                zip(*found[start : start + _PUBLISHED_AT_ONCE], strict=True) if found else ((),) * 3
            )
            yield naming_pb2.PublishActivationsRequest(
                study_id=study_id,
                activations=types_pb2.ActivationColumns(
                    activation_id=ids, image_id=images, category=categories
                ),
            )

    with asking("naming"):
        naming.PublishActivations(batches(), timeout=_TIMEOUT_S)


def _counts(engine: Engine, study_id: str) -> dict[str, Any]:
    def count(*conditions: Any) -> Any:  # SQLAlchemy's own condition types
        return select(func.count()).where(*conditions)

    with Session(engine) as opened:
        return {
            "images": opened.exec(count(ExplainedImage.study_id == study_id)).one(),
            "images_without_significant": opened.exec(
                count(ExplainedImage.study_id == study_id, ExplainedImage.significant_count == 0)
            ).one(),
            "activations": opened.exec(count(Activation.study_id == study_id)).one(),
            "empty_maps": opened.exec(count(Activation.study_id == study_id, Activation.map_sum == 0)).one(),
        }
