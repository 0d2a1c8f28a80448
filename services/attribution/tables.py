"""Tables of the attribution service."""

from sqlalchemy import BigInteger, String, UniqueConstraint
from sqlmodel import Field, SQLModel

EXCITATION_BACKPROP = "Excitation Backprop"  # the method of maps that are computed here

# PostgreSQL sorts text by language unless told otherwise; the order of lists must not hang on that.
CATEGORY = String().with_variant(String(collation="C"), "postgresql")


class MapRun(SQLModel, table=True):
    """What made a study's maps; the same for all of them. Where they were imported, what their archive says."""

    __tablename__ = "map_run"

    study_id: str = Field(primary_key=True)
    salt: str  # of the activation ids, so that nobody can tell an X-feature from one
    model: str
    model_hash: str
    xnn_set: str
    xnn_hash: str  # SHA-256 over the classes and object keys of its xNNs; empty where maps were imported
    dataset: str
    dataset_hash: str
    attachment_layer: str
    map_layer: str
    map_height: int
    map_width: int
    mode: str  # "strict" or "local"; empty where maps were imported
    contrastive: bool
    significant_share: float
    version: str  # of Onoma
    method: str  # EXCITATION_BACKPROP, or what the archive says
    archive_hash: str = ""  # of the archive that maps were imported from; empty where they were computed here
    parameters: str = "{}"  # of the method, JSON: as the archive has them, or precision and rules
    already_significant: bool = False  # the archive held significant activations alone
    is_complete: bool = False  # nothing of a run is given out before


class ExplainedImage(SQLModel, table=True):
    """One image of a study, explained for its category."""

    __tablename__ = "explained_image"

    study_id: str = Field(primary_key=True, foreign_key="map_run.study_id")
    category: str = Field(sa_type=CATEGORY, primary_key=True)
    image_id: str = Field(primary_key=True)
    dnn_score: float | None  # none where an archive did not say
    xnn_score: float | None
    predicted_class: str  # empty where an archive did not say
    significant_count: int


class Activation(SQLModel, table=True):
    """One significant activation and where its map is: the index-th of a shard."""

    __table_args__ = (UniqueConstraint("study_id", "category", "image_id", "x_feature"),)

    study_id: str = Field(primary_key=True, foreign_key="map_run.study_id")
    activation_id: str = Field(primary_key=True)
    category: str = Field(sa_type=CATEGORY)
    image_id: str
    x_feature: int
    x: float | None  # none where it was imported: archives hold the contribution alone
    contribution: float
    share: float
    map_sum: float  # as computed, before float16; 0 for a map that is empty or was not finite
    map_scale: float
    shard_key: str
    shard_start: int = Field(sa_type=BigInteger)  # byte of the shard where its first map begins
    shard_index: int
    crc32: int = Field(sa_type=BigInteger)
