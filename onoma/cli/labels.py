"""`onoma study labels`: how the statistics read and compare the labels of a study."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import chain
from typing import Annotated

import typer

from onoma.cli.data import listed
from onoma.cli.output import Json, print_json, print_table
from onoma.cli.studies import Study
from onoma.client import Client
from onoma.enum_names import names_of, values_of
from onoma.v1 import naming_pb2


class Outcome(StrEnum):
    """What two labels are to each other."""

    exact = "exact"
    subset = "subset"
    none = "none"
    ambiguous = "ambiguous"


_OUTCOMES = values_of(naming_pb2.LabelOutcome)
_OUTCOME_NAMES = names_of(naming_pb2.LabelOutcome)


def labels(
    study: Study,
    synonyms: Annotated[
        list[str] | None,
        typer.Option(
            "--synonyms",
            help="Add words that mean the same, separated by commas (with those of a group that has one of them); "
            "again for another group.",
        ),
    ] = None,
    not_synonym: Annotated[
        list[str] | None,
        typer.Option("--not-synonym", help="Take a word out of its group; again for another."),
    ] = None,
    vague: Annotated[
        list[str] | None, typer.Option("--vague", help="Add a label that says too little; again for another.")
    ] = None,
    not_vague: Annotated[
        list[str] | None, typer.Option("--not-vague", help="Take a label off those; again for another.")
    ] = None,
    overrule: Annotated[
        tuple[str, str, Outcome] | None,
        typer.Option("--overrule", help="Decide by hand: LABEL LABEL exact|subset|none|ambiguous."),
    ] = None,
    by: Annotated[str, typer.Option(help="Who decides, for --overrule.")] = "",
    json: Json = False,
) -> None:
    """Show, or change, how the statistics compare the labels of a study."""
    if overrule and not by:
        raise typer.BadParameter("--overrule needs --by NAME: who decides is kept with the decision")
    if by and not overrule:
        raise typer.BadParameter("--by says who decides; give --overrule LABEL LABEL OUTCOME too")
    with Client() as client:
        study_id = client.get_study(study).study_id
        vocabulary = client.get_vocabulary(study_id)
        if synonyms or not_synonym or vague or not_vague:
            groups = [list(group.words) for group in vocabulary.synonyms]
            for word in not_synonym or ():
                groups = _without_synonym(groups, word)
            for words in synonyms or ():
                groups = _with_synonyms(groups, listed(words))
            vague_words = list(vocabulary.vague_words)
            for word in not_vague or ():
                vague_words = _without(vague_words, word, "no vague word")
            wanted = naming_pb2.Vocabulary(
                revision=vocabulary.revision,
                synonyms=[naming_pb2.SynonymGroup(words=group) for group in groups],
                vague_words=_joined(vague_words, vague or ()),
            )
            vocabulary = client.set_vocabulary(study_id, wanted)
        if overrule:
            first, second, outcome = overrule
            vocabulary = client.overrule_labels(study_id, first, second, _OUTCOMES[outcome], by)
    if json:
        print_json(vocabulary)
        return
    print_table(("words that mean the same",), [(", ".join(group.words),) for group in vocabulary.synonyms])
    print_table(("words that say too little",), [(word,) for word in vocabulary.vague_words])
    print_table(
        ("label", "label", "by hand", "by", "when"),
        [
            (one.first, one.second, _OUTCOME_NAMES[one.outcome], one.decided_by, one.time.ToJsonString())
            for one in vocabulary.overrulings
        ],
    )


def _with_synonyms(groups: list[list[str]], words: list[str]) -> list[list[str]]:
    """The groups and these words, in one with all groups that have one of them: a word is in one group at most."""
    met = [group for group in groups if _same(group) & _same(words)]
    return [group for group in groups if group not in met] + [_joined([], [*chain(*met), *words])]


def _without_synonym(groups: list[list[str]], word: str) -> list[list[str]]:
    """The groups without a word; what it leaves alone is no group."""
    _without([*chain(*groups)], word, "in no group of synonyms")
    left = [[one for one in group if one.casefold() != word.casefold()] for group in groups]
    return [group for group in left if len(group) > 1]


def _without(words: list[str], word: str, is_what: str) -> list[str]:
    """The words without one, in whatever case.

    Raises:
        ValueError: it is not among them.
    """
    if word.casefold() not in _same(words):
        raise ValueError(f"'{word}' is {is_what} here; onoma study labels STUDY shows those there are")
    return [one for one in words if one.casefold() != word.casefold()]


def _joined(words: Sequence[str], more: Sequence[str]) -> list[str]:
    """Both, each word once in whatever case, the first way it is written."""
    first_written: dict[str, str] = {}
    for word in (*words, *more):
        first_written.setdefault(word.casefold(), word)
    return list(first_written.values())


def _same(words: Sequence[str]) -> set[str]:
    return {word.casefold() for word in words}
