"""How the labels of a study are compared: synonyms, vague words, and people's decisions, with who and when."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from onoma.science.labels import VAGUE
from onoma.v1 import naming_pb2 as pb
from services.naming import studies
from services.naming.names import checked_name
from services.naming.tables import VocabularyChange
from services.naming.transactions import transact
from services.runtime.enums import name_of
from services.runtime.errors import Aborted, InvalidArgument, ResourceExhausted

MAX_WORDS = 10_000  # synonyms and vague words of a study
MAX_OVERRULINGS = 10_000


def present(opened: Session, study_id: str) -> pb.Vocabulary:
    """The vocabulary as it stands.

    Raises:
        NotFound: no such study.
    """
    studies.get(opened, study_id)
    rows = _latest(opened, study_id, 1)
    return _read(rows[0]) if rows else pb.Vocabulary(vague_words=VAGUE)


def put(engine: Engine, request: pb.SetVocabularyRequest) -> pb.Vocabulary:
    """Puts these synonyms and vague words in place of those there are.

    Raises:
        NotFound: no such study.
        Aborted: somebody has changed the vocabulary since.
        InvalidArgument: a group of fewer than two words, a word twice, or one that is no name.
        ResourceExhausted: over 10,000 words.
    """
    groups = [[checked_name(word, "synonym") for word in group.words] for group in request.synonyms]
    vague_words = [checked_name(word, "vague word") for word in request.vague_words]
    if sum(map(len, groups)) + len(vague_words) > MAX_WORDS:
        raise ResourceExhausted(
            f"the vocabulary would have over {MAX_WORDS} words, the most it takes; leave some out",
            "TOO_MANY_WORDS",
        )
    seen: set[str] = set()
    for group in groups:
        if len(group) < 2:
            raise InvalidArgument(
                f"the group of synonyms {group} has fewer than two words; add one, or leave it out"
            )
        folded = [word.casefold() for word in group]
        for place, word in enumerate(folded):
            if word in folded[:place]:
                raise InvalidArgument(f"{group[place]!r} is in one group of synonyms twice; leave one out")
            if word in seen:
                raise InvalidArgument(f"{group[place]!r} is in two groups of synonyms; put them together")
        seen.update(folded)

    def change(vocabulary: pb.Vocabulary) -> None:
        if vocabulary.revision != request.base_revision:
            raise Aborted(
                f"the vocabulary is at revision {vocabulary.revision}, the change was made against "
                f"{request.base_revision}; read it anew (GetVocabulary)",
                reason="STALE_REVISION",
            )
        vocabulary.ClearField("synonyms")
        vocabulary.synonyms.extend(pb.SynonymGroup(words=group) for group in groups)
        vocabulary.vague_words[:] = vague_words

    return _changed(engine, request.study_id, change)


def overrule(engine: Engine, request: pb.OverruleLabelsRequest) -> pb.Vocabulary:
    """Adds a decision on two labels.

    Raises:
        NotFound: no such study.
        InvalidArgument: a label or who decides is no name, or the outcome is none.
        ResourceExhausted: over 10,000 decisions.
    """
    name_of(pb.LabelOutcome, request.outcome, "outcome", unsaid=None)
    overruling = pb.Overruling(
        first=checked_name(request.first, "label"),
        second=checked_name(request.second, "label"),
        outcome=request.outcome,
        decided_by=checked_name(request.decided_by, "who decides"),
    )
    if request.HasField("time"):
        overruling.time.CopyFrom(_checked_time(request.time))
    else:
        overruling.time.FromDatetime(datetime.now(UTC))

    def change(vocabulary: pb.Vocabulary) -> None:
        if len(vocabulary.overrulings) >= MAX_OVERRULINGS:
            raise ResourceExhausted(
                f"the study has {MAX_OVERRULINGS} decisions by hand, the most it takes; make synonyms of some",
                "TOO_MANY_DECISIONS",
            )
        vocabulary.overrulings.append(overruling)

    return _changed(engine, request.study_id, change)


def _checked_time(time_: Timestamp) -> Timestamp:
    try:
        time_.ToDatetime()
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(f"time of the decision: {error}; send one from 1 to 9999, or none") from error
    return time_


def _changed(engine: Engine, study_id: str, change: Callable[[pb.Vocabulary], None]) -> pb.Vocabulary:
    def work(opened: Session) -> pb.Vocabulary:
        studies.get(opened, study_id, lock="write")
        vocabulary = present(opened, study_id)
        change(vocabulary)
        vocabulary.revision += 1
        earlier = _latest(opened, study_id, 2)
        # Decisions are only ever added, with who and when: a row between two of the same words says nothing more.
        if len(earlier) == 2 and all(_words(_read(row)) == _words(vocabulary) for row in earlier):
            opened.delete(earlier[0])
        opened.add(
            VocabularyChange(
                study_id=study_id,
                revision=vocabulary.revision,
                time=time.time(),
                vocabulary=vocabulary.SerializeToString(),
            )
        )
        return vocabulary

    return transact(engine, work)


def _latest(opened: Session, study_id: str, count: int) -> Sequence[VocabularyChange]:
    query = select(VocabularyChange).where(VocabularyChange.study_id == study_id)
    return opened.exec(query.order_by(col(VocabularyChange.revision).desc()).limit(count)).all()


def _read(row: VocabularyChange) -> pb.Vocabulary:
    return pb.Vocabulary.FromString(row.vocabulary)


def _words(vocabulary: pb.Vocabulary) -> tuple[list[list[str]], list[str]]:
    return [list(group.words) for group in vocabulary.synonyms], list(vocabulary.vague_words)
