"""Takes what acts change into a naming that is held here."""

from collections.abc import Sequence

from onoma.v1 import naming_pb2


def after(naming: naming_pb2.Naming, change: naming_pb2.NamingChange) -> naming_pb2.Naming:
    """The naming after a change; `naming` stays as it is.

    Raises:
        ValueError: the change starts from another revision.
    """
    if change.base_revision != naming.revision:
        raise ValueError(
            f"the change starts from revision {change.base_revision}, the naming is at {naming.revision}; "
            "read it anew (get_naming)"
        )
    gone = {id_ for one in change.moved for id_ in one.activation_ids}
    arrived = {(one.WhichOneof("to"), one.concept_id, one.reason): one for one in change.moved}

    def changed(
        ids: Sequence[str],
        to: str,
        concept_id: str = "",
        reason: naming_pb2.DiscardReason = naming_pb2.DISCARD_REASON_UNSPECIFIED,
    ) -> list[str]:
        stay = [id_ for id_ in ids if id_ not in gone]
        incoming = arrived.get((to, concept_id, reason))
        return _put(stay, incoming.activation_ids, incoming.places) if incoming else stay

    members = {concept.concept_id: concept.activation_ids for concept in naming.concepts}
    names = {concept.concept_id: concept.name for concept in naming.concepts}
    names |= {concept.concept_id: concept.name for concept in change.concepts}
    others = set(change.ended_concept_ids) | {concept.concept_id for concept in change.concepts}
    order = _put(
        [concept.concept_id for concept in naming.concepts if concept.concept_id not in others],
        [concept.concept_id for concept in change.concepts],
        [concept.place for concept in change.concepts],
    )
    discards = {discard.reason: discard.activation_ids for discard in naming.discards}
    reasons = discards.keys() | {one.reason for one in change.moved if one.WhichOneof("to") == "reason"}
    result = naming_pb2.Naming(
        study_id=naming.study_id,
        annotator_id=naming.annotator_id,
        category=naming.category,
        revision=change.revision,
        undo_count=change.undo_count,
        redo_count=change.redo_count,
        pool=changed(naming.pool, "pool"),
    )
    for id_ in order:
        ids = changed(members.get(id_, ()), "concept_id", concept_id=id_)
        result.concepts.add(concept_id=id_, name=names[id_], activation_ids=ids)
    for reason in sorted(reasons):
        if ids := changed(discards.get(reason, ()), "reason", reason=reason):
            result.discards.add(reason=reason, activation_ids=ids)
    return result


def _put(stay: Sequence[str], incoming: Sequence[str], places: Sequence[int]) -> list[str]:
    """The list in which each of `incoming` lies at its place, and the others around them as they were."""
    arriving = dict(zip(places, incoming, strict=True))
    rest = iter(stay)
    return [
        arriving[place] if place in arriving else next(rest) for place in range(len(stay) + len(incoming))
    ]
