"""What each act does to a naming."""

import pytest

from onoma.v1 import naming_pb2 as pb
from services.naming import ledger
from tests.services.naming.conftest import ACTIVATIONS, create

A, B, C, D = ACTIVATIONS["boat"][:4]


def concepts(naming):
    return {concept.concept_id: (concept.name, list(concept.activation_ids)) for concept in naming.concepts}


def seen(naming):
    """All of a naming but its revision and its counts."""
    return naming.concepts, naming.discards, naming.pool


def test_a_naming_begins_with_all_in_the_pool(desk):
    naming = desk.naming()
    assert naming.revision == 0
    assert sorted(naming.pool) == ACTIVATIONS["boat"]


def test_a_pool_has_an_order_of_its_own_for_each_annotator_and_keeps_it(server, study, desk):
    first = list(desk.naming().pool)
    assert first != sorted(first)
    assert list(server.desk(study.study_id, "Bo").naming().pool) != first
    naming = desk.act(**create("c", first[:3]))
    assert list(naming.pool) == first[3:]


def test_creating_takes_activations_in_the_order_given(desk):
    naming = desk.act(**create("c1", [B, A], "bow"))
    assert concepts(naming) == {"c1": ("bow", [B, A])}
    assert (naming.revision, naming.undo_count, naming.redo_count) == (1, 1, 0)
    assert A not in naming.pool


def test_assigning_moves_from_wherever_it_is(desk):
    desk.act(**create("c1", [A, B]))
    desk.act(**create("c2"))
    desk.act(discard=pb.DiscardActivations(activation_ids=[C]))
    naming = desk.act(assign=pb.AssignActivations(concept_id="c2", activation_ids=[C, A, D]))
    assert concepts(naming) == {"c1": ("", [B]), "c2": ("", [C, A, D])}
    assert not naming.discards


def test_unassigning_goes_back_to_the_pool(desk):
    desk.act(**create("c1", [A, B]))
    naming = desk.act(unassign=pb.UnassignActivations(activation_ids=[A, C]))
    assert concepts(naming) == {"c1": ("", [B])}
    assert {A, C} <= set(naming.pool)


def test_discards_are_kept_by_reason(desk):
    desk.act(discard=pb.DiscardActivations(activation_ids=[A, B], reason=pb.DISCARD_REASON_NOISE))
    naming = desk.act(discard=pb.DiscardActivations(activation_ids=[B], reason=pb.DISCARD_REASON_UNCLEAR))
    assert [(discard.reason, list(discard.activation_ids)) for discard in naming.discards] == [
        (pb.DISCARD_REASON_NOISE, [A]),
        (pb.DISCARD_REASON_UNCLEAR, [B]),
    ]


def test_names_are_normalised(desk):
    naming = desk.act(**create("c1", name="e\u0301toile"))
    assert concepts(naming)["c1"][0] == "\u00e9toile"


@pytest.mark.parametrize("name", [" ", "\u3000\u00a0", "\u200b", " \u200f "])
def test_a_name_that_shows_nothing_is_none_yet(desk, name):
    desk.act(**create("c1", name="bow"))
    naming = desk.act(rename=pb.RenameConcept(concept_id="c1", name=name))
    assert concepts(naming)["c1"][0] == ""


def test_white_space_around_a_name_is_no_part_of_it(desk):
    assert concepts(desk.act(**create("c1", name=" left sleeve\u00a0")))["c1"][0] == "left sleeve"


@pytest.mark.parametrize("name", ["", "ـ العربية \u200f", "👩‍👩‍👧", "<b>bold</b>", "x" * 200])
def test_names_of_any_script_are_kept(desk, name):
    desk.act(**create("c1"))
    naming = desk.act(rename=pb.RenameConcept(concept_id="c1", name=name))
    assert concepts(naming)["c1"][0] == name


def test_merging_keeps_the_targets_id_and_name(desk):
    desk.act(**create("c1", [A, B], "one"))
    desk.act(**create("c2", [C], "two"))
    naming = desk.act(merge=pb.MergeConcepts(source_concept_id="c1", target_concept_id="c2"))
    assert concepts(naming) == {"c2": ("two", [C, A, B])}


def test_undoing_a_merge_restores_the_merged_concept_as_it_was(desk):
    desk.act(**create("c1", [B, A], "one"))
    desk.act(**create("c2", [C], "two"))
    before = desk.act(**create("c3", [D], "three"))
    desk.act(merge=pb.MergeConcepts(source_concept_id="c2", target_concept_id="c3"))
    naming = desk.act(undo=pb.UndoAct())
    assert seen(naming) == seen(before)
    assert list(concepts(naming)) == ["c1", "c2", "c3"]
    assert (naming.undo_count, naming.redo_count) == (3, 1)


def test_splitting_makes_a_concept_of_a_part(desk):
    desk.act(**create("c1", [A, B, C], "one"))
    split = pb.SplitConcept(concept_id="c1", new_concept_id="c2", name="two", activation_ids=[C, A])
    assert concepts(desk.act(split=split)) == {"c1": ("one", [B]), "c2": ("two", [C, A])}


def test_deleting_empties_into_the_pool_and_undo_brings_all_back(desk):
    before = desk.act(**create("c1", [A, B], "one"))
    naming = desk.act(delete=pb.DeleteConcept(concept_id="c1"))
    assert not naming.concepts
    assert {A, B} <= set(naming.pool)
    assert seen(desk.act(undo=pb.UndoAct())) == seen(before)


def test_a_new_act_clears_what_redo_could_bring_back(desk):
    desk.act(**create("c1"))
    desk.act(undo=pb.UndoAct())
    naming = desk.act(**create("c2"))
    assert (naming.undo_count, naming.redo_count) == (1, 0)
    naming = desk.act(undo=pb.UndoAct())
    assert not naming.concepts


def test_undo_reaches_past_acts_that_were_undone_before(desk):
    states = [seen(desk.naming())]
    for number, activation in enumerate((A, B, C)):
        states.append(seen(desk.act(**create(f"c{number}", [activation]))))
        desk.act(**create(f"gone{number}"))
        desk.act(undo=pb.UndoAct())
    for state in reversed(states[:-1]):
        assert seen(desk.act(undo=pb.UndoAct())) == state
    for state in states[1:]:
        assert seen(desk.act(redo=pb.RedoAct())) == state


def test_the_log_lists_commands_as_sent_by_page(desk):
    desk.act(request_id="first", **create("c1", [A], "e\u0301"))
    desk.act(request_id="second", undo=pb.UndoAct())
    page = desk.acts(page_size=1)
    assert [(act.revision, act.request_id) for act in page.acts] == [(1, "first")]
    assert page.acts[0].command.create.name == "e\u0301"
    rest = desk.acts(page_token=page.next_page_token)
    assert [(act.request_id, act.command.WhichOneof("command")) for act in rest.acts] == [("second", "undo")]
    assert rest.next_page_token == ""


def test_a_page_of_the_log_ends_where_a_message_would_grow_too_large(desk, monkeypatch):
    monkeypatch.setattr(ledger, "_MAX_PAGE_BYTES", 100)
    small, large = ACTIVATIONS["boat"][:1], ACTIVATIONS["boat"]  # the large one is over the limit by itself
    for ids in (small, large, small, small, small, small, large):
        desk.act(discard=pb.DiscardActivations(activation_ids=ids))
    pages, token = [], ""
    while not pages or token:
        page = desk.acts(page_token=token)
        pages.append([act.revision for act in page.acts])
        token = page.next_page_token
    assert pages == [[1], [2], [3, 4, 5, 6], [7]]


def test_the_same_request_twice_is_one_act(desk):
    first = desk.act(request_id="r", base_revision=0, **create("c1", [A]))
    again = desk.act(request_id="r", base_revision=0, **create("c1", [A]))
    assert again == first
    assert len(desk.acts().acts) == 1


def test_a_request_sent_again_finds_the_present_naming_even_after_the_close(server, desk):
    desk.act(request_id="r", **create("c1", [A]))
    later = desk.act(**create("c2", [B]))
    server.calls.CloseStudy(pb.CloseStudyRequest(study_id=desk.study_id))
    assert desk.act(request_id="r", base_revision=0, **create("c1", [A])) == later


def test_acts_outlive_the_server(open_server, server, desk):
    before = desk.act(**create("c1", [B, A], "bow"))
    other = open_server(server.data_dir)
    again = other.calls.GetNaming(pb.GetNamingRequest(**desk.key())).naming
    assert again == before
