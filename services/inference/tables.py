"""Tables of the inference service."""

from typing import Any

from sqlalchemy import JSON, Column, Index, String
from sqlmodel import Field, SQLModel

TRAIN, TEST = "train", "test"
SKIPPED, CONVERTED = "skipped", "converted"
TRAINED_ELSEWHERE = ""  # in place of the hash of what a training here depends on

# PostgreSQL sorts text by language unless told otherwise; orders and content hashes must not hang on that.
PATH = String().with_variant(String(collation="C"), "postgresql")


class Image(SQLModel, table=True):
    """A picture in the object store that decodes; shared by all data sets that hold it."""

    image_id: str = Field(primary_key=True)  # SHA-256 of the bytes, and their object key
    height: int  # pixels, after EXIF rotation
    width: int
    notes: list[str] = Field(sa_column=Column(JSON, nullable=False))  # what decoding changed


class Dataset(SQLModel, table=True):
    """A data set as its last whole import left it."""

    name: str = Field(primary_key=True)
    import_id: str = Field(unique=True)  # the import whose rows of dataset_image and import_issue count
    classes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    train_counts: list[int] = Field(sa_column=Column(JSON, nullable=False))  # one a class, in that order
    test_counts: list[int] = Field(sa_column=Column(JSON, nullable=False))
    skipped_count: int
    converted_count: int
    content_hash: str


class DatasetImage(SQLModel, table=True):
    """One file of one import. Rows of an import that has not ended are seen by nobody."""

    __tablename__ = "dataset_image"
    __table_args__ = (Index("dataset_image_order", "import_id", "part", "class_index", "path"),)

    import_id: str = Field(primary_key=True)
    path: str = Field(sa_type=PATH, primary_key=True)  # below the data set's folder
    dataset: str = Field(index=True)
    part: str  # TRAIN or TEST
    class_index: int
    image_id: str = Field(foreign_key="image.image_id", index=True)
    bounding_box: list[float] | None = Field(
        sa_column=Column(JSON(none_as_null=True))
    )  # x, y, width, height in pixels
    part_points: list[tuple[str, float, float]] | None = Field(
        sa_column=Column(JSON(none_as_null=True))
    )  # name, x, y in pixels


class ImportIssue(SQLModel, table=True):
    """A file that an import left out, or took with a change."""

    __tablename__ = "import_issue"

    import_id: str = Field(primary_key=True)
    path: str = Field(sa_type=PATH, primary_key=True)
    dataset: str = Field(index=True)
    outcome: str  # SKIPPED or CONVERTED
    reason: str


class Model(SQLModel, table=True):
    """A registered network."""

    name: str = Field(primary_key=True)
    model_hash: str  # SHA-256 of the .pt2 file, and its object key
    onnx_key: str
    classes: list[str] = Field(sa_column=Column(JSON, nullable=False))
    preprocessing: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # fields of Preprocessing
    attachment_layer: str
    feature_count: int
    map_layer: str
    map_height: int
    map_width: int
    mode: str  # "strict" or "local"
    strict_leak: float  # share of mass lost, in [0, 1]
    onnx_error: float  # largest |ONNX score - torch score|


class XnnSet(SQLModel, table=True):
    """The xNNs of one model on one data set."""

    __tablename__ = "xnn_set"

    name: str = Field(primary_key=True)
    model: str = Field(foreign_key="model.name", index=True)
    dataset: str = Field(foreign_key="dataset.name", index=True)
    settings: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # XnnSettings as used
    summary: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # figures over all test images


class Xnn(SQLModel, table=True):
    """One class's xNN."""

    set_name: str = Field(primary_key=True, foreign_key="xnn_set.name")
    class_name: str = Field(primary_key=True)
    weights_key: str  # object key of its safetensors file
    settings_hash: str  # SHA-256 of all that its training depended on, or TRAINED_ELSEWHERE
    metrics: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # the other fields of proto Xnn


class XnnRound(SQLModel, table=True):
    """One round of a class whose training has not ended; it goes when the class has its xNN."""

    __tablename__ = "xnn_round"

    set_name: str = Field(primary_key=True, foreign_key="xnn_set.name")
    class_name: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    settings_hash: str  # as that of Xnn
    object_key: str  # its xNN's safetensors file; without the shared trunk where there is one
    figures: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))  # the other fields of Round


class FeatureShard(SQLModel, table=True):
    """Features and scores of about a thousand images of one part, kept in the object store."""

    __tablename__ = "feature_shard"

    cache_key: str = Field(primary_key=True)  # SHA-256 over model, layer, preprocessing, data set and part
    shard: int = Field(primary_key=True)
    object_key: str


class KeptCells(SQLModel, table=True):
    """The map layer's activations of one image, kept from a feature pass for the maps."""

    __tablename__ = "kept_cells"

    seen_by: str = Field(primary_key=True)  # SHA-256 over model, map layer and preprocessing
    image_id: str = Field(primary_key=True)
    object_key: str
