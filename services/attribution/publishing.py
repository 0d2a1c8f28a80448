"""Telling naming which activations a study has."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from onoma.v1 import naming_pb2, types_pb2
from services.attribution.plans import Peers
from services.attribution.tables import Activation
from services.runtime.jobs import JobContext
from services.runtime.peers import asking

_PUBLISHED_AT_ONCE = 5000
_PUBLISH_TIMEOUT_S = 600.0


def publish(context: JobContext, engine: Engine, peers: Peers, study: naming_pb2.Study) -> None:
    """Sends a study's activations to naming; the X-feature columns stay here. The same again changes nothing."""
    study_id = study.study_id
    columns = (col(Activation.activation_id), col(Activation.image_id), col(Activation.category))
    with Session(engine) as opened:
        query = select(*columns).where(Activation.study_id == study_id).order_by(columns[0])
        rows = list(opened.exec(query))
    if not rows:
        context.warn(f"no image of study '{study.name}' has a significant activation: nothing to name")
        return

    def messages() -> Iterator[naming_pb2.PublishActivationsRequest]:
        for start in range(0, len(rows), _PUBLISHED_AT_ONCE):
            ids, images, categories = zip(*rows[start : start + _PUBLISHED_AT_ONCE], strict=True)
            columns = types_pb2.ActivationColumns(activation_id=ids, image_id=images, category=categories)
            yield naming_pb2.PublishActivationsRequest(study_id=study_id, activations=columns)

    with asking("naming"):
        peers.naming.PublishActivations(messages(), timeout=_PUBLISH_TIMEOUT_S)
