"""Tables of the naming service."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, ForeignKeyConstraint, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

DRAFT, OPEN, CLOSED = "draft", "open", "closed"
ANNOTATOR, VIEWER = "annotator", "viewer"


class Study(SQLModel, table=True):
    """What is shown to annotators, and whether they may act."""

    study_id: str = Field(primary_key=True)
    name: str = Field(index=True)
    model: str
    dataset: str
    part: str  # "train" or "test"
    xnn_set: str
    categories: list[str] = Field(sa_column=Column(JSON, nullable=False))
    settings: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # fields of StudySettings
    state: str  # DRAFT, OPEN or CLOSED
    create_time: float = Field(index=True)  # seconds since 1970
    request_id: str | None = Field(default=None, unique=True)
    request_hash: str  # SHA-256 of the request without its id
    activation_count: int = 0
    activation_revision: int = 0  # how often the published set changed


class StudyActivation(SQLModel, table=True):
    """One significant activation that a study shows."""

    __tablename__ = "study_activation"
    __table_args__ = (Index("study_activation_of_category", "study_id", "category"),)

    study_id: str = Field(primary_key=True, foreign_key="study.study_id")
    activation_id: str = Field(primary_key=True)
    category: str
    image_id: str


class Annotator(SQLModel, table=True):
    """Someone who names, or looks at what was named, with the hash of their link's token."""

    __table_args__ = (
        UniqueConstraint("study_id", "display_name"),
        UniqueConstraint("study_id", "request_id"),
    )

    study_id: str = Field(primary_key=True, foreign_key="study.study_id")
    annotator_id: str = Field(primary_key=True)
    place: int  # in the order they were invited
    display_name: str
    role: str  # ANNOTATOR or VIEWER
    request_id: str | None = None
    token_hash: str | None = Field(default=None, unique=True)  # SHA-256; none for those an import made
    token_expiry: float = 0.0  # seconds since 1970
    revoked: bool = False


class Naming(SQLModel, table=True):
    """One annotator's naming of one category; made by the first act that is tried, at revision 0 until one is done."""

    __table_args__ = (
        ForeignKeyConstraint(["study_id", "annotator_id"], ["annotator.study_id", "annotator.annotator_id"]),
    )

    study_id: str = Field(primary_key=True)
    annotator_id: str = Field(primary_key=True)
    category: str = Field(primary_key=True)
    revision: int = Field(default=0, sa_type=BigInteger)
    undo_count: int = 0
    redo_count: int = 0


class Act(SQLModel, table=True):
    """One entry of the log; never changed.

    The acts that undo and redo can reach are a stack. An act stands at the depth it was pushed to, above
    whatever it covered, so the entry at depth d is the latest act with that depth.
    """

    __table_args__ = (
        ForeignKeyConstraint(
            ["study_id", "annotator_id", "category"],
            ["naming.study_id", "naming.annotator_id", "naming.category"],
        ),
        UniqueConstraint("study_id", "annotator_id", "request_id"),
        Index("act_of_depth", "study_id", "annotator_id", "category", "depth", "revision"),
    )

    study_id: str = Field(primary_key=True)
    annotator_id: str = Field(primary_key=True)
    category: str = Field(primary_key=True)
    revision: int = Field(primary_key=True, sa_type=BigInteger)
    request_id: str
    command: bytes = Field(sa_type=LargeBinary)  # naming.proto Command as sent, serialised deterministically
    edits: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # acts.Edits: before and after
    depth: int  # 0 for undo and redo
    time: float  # seconds since 1970


class Concept(SQLModel, table=True):
    """A visual concept. Rows of those that ended stay: undo may bring them back, and their ids are taken."""

    __table_args__ = (
        ForeignKeyConstraint(
            ["study_id", "annotator_id", "category"],
            ["naming.study_id", "naming.annotator_id", "naming.category"],
        ),
        Index("concept_of_naming", "study_id", "annotator_id", "category"),
    )

    study_id: str = Field(primary_key=True)
    annotator_id: str = Field(primary_key=True)
    concept_id: str = Field(primary_key=True)
    category: str
    name: str
    place: int = Field(sa_type=BigInteger)  # in the order concepts were made
    standing: bool


class Placement(SQLModel, table=True):
    """Where an activation lies when it is not in the pool: its key allows one place an annotator."""

    __table_args__ = (
        ForeignKeyConstraint(
            ["study_id", "activation_id"], ["study_activation.study_id", "study_activation.activation_id"]
        ),
        ForeignKeyConstraint(
            ["study_id", "annotator_id", "concept_id"],
            ["concept.study_id", "concept.annotator_id", "concept.concept_id"],
            name="placement_in_concept",
        ),
        Index("placement_of_naming", "study_id", "annotator_id", "category", "concept_id"),
        Index("placement_of_activation", "study_id", "activation_id"),
    )

    study_id: str = Field(primary_key=True)
    annotator_id: str = Field(primary_key=True)
    activation_id: str = Field(primary_key=True)
    category: str
    concept_id: str | None = None  # none: discarded
    reason: int  # DiscardReason of naming.proto; 0 in a concept
    position: int = Field(sa_type=BigInteger)  # in the order activations came in


class VocabularyChange(SQLModel, table=True):
    """A study's vocabulary after one change; the latest counts.

    No row is ever changed. Of those in a row that differ in decisions alone the first and the last are kept.
    """

    __tablename__ = "vocabulary_change"

    study_id: str = Field(primary_key=True, foreign_key="study.study_id")
    revision: int = Field(primary_key=True)
    time: float  # seconds since 1970
    vocabulary: bytes = Field(sa_type=LargeBinary)  # naming.proto Vocabulary


class NamingImport(SQLModel, table=True):
    """One ImportNamings that was done, so that the same request is done once."""

    __tablename__ = "naming_import"

    study_id: str = Field(primary_key=True, foreign_key="study.study_id")
    request_id: str = Field(primary_key=True)
    request_hash: str  # SHA-256 of the document
    annotator_count: int
    concept_count: int
