"""What leads from one state of a naming to a later one, as a message."""

from collections.abc import Mapping, Sequence

from onoma.v1 import naming_pb2 as pb
from services.naming.acts import Concept, Place, State
from services.naming.namings import Held

_List = tuple[str | None, int]  # concept and reason of a Place; positions lie within one


def change(before: Held, after: Held, shown_in: Sequence[str]) -> pb.NamingChange:
    """What leads from one state to another; `onoma.client.namings.after` takes it.

    Args:
        shown_in: the category's activations in the order that this annotator sees them.
    """
    made = pb.NamingChange(
        base_revision=before.state.revision,
        revision=after.state.revision,
        undo_count=after.undo_count,
        redo_count=after.redo_count,
        moved=_moved(before.state.placements, after.state.placements, shown_in),
    )
    was, stands = _standing(before.state), _standing(after.state)
    if was != stands:
        for place, (concept_id, concept) in enumerate(stands.items()):
            if was.get(concept_id) != concept:
                made.concepts.add(concept_id=concept_id, name=concept.name, place=place)
        made.ended_concept_ids.extend(id_ for id_ in was if id_ not in stands)
    return made


def _standing(state: State) -> dict[str, Concept]:
    """The concepts that stand, in their order."""
    standing = ((concept.place, id_) for id_, concept in state.concepts.items() if concept.standing)
    return {id_: state.concepts[id_] for _, id_ in sorted(standing)}


def _moved(
    before: Mapping[str, Place], after: Mapping[str, Place], shown_in: Sequence[str]
) -> list[pb.MovedActivations]:
    placed = {id_ for id_, place in after.items() if (old := before.get(id_)) is not place and old != place}
    lists: dict[_List, list[tuple[int, str]]] = {_list(after[id_]): [] for id_ in placed}
    for id_, place in after.items() if placed else ():
        if (members := lists.get(_list(place))) is not None:
            members.append((place.position, id_))
    moved = []
    for (concept_id, reason), members in lists.items():
        ids = [id_ for _, id_ in sorted(members)]
        to = {"reason": reason} if concept_id is None else {"concept_id": concept_id}
        moved.append(_of_list(ids, placed, **to))
    if pooled := before.keys() - after.keys():
        pool = [id_ for id_ in shown_in if id_ not in after]
        moved.append(_of_list(pool, pooled, pool=True))
    return moved


def _of_list(ids: Sequence[str], moved: set[str], **to: object) -> pb.MovedActivations:
    found = [(place, id_) for place, id_ in enumerate(ids) if id_ in moved]
    return pb.MovedActivations(
        activation_ids=[id_ for _, id_ in found],
        places=[place for place, _ in found],
        **to,  # type: ignore[arg-type]  # one field of the oneof
    )


def _list(place: Place) -> _List:
    return (place.concept_id, place.reason)
