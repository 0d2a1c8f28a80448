"""What made a study's maps, for who asks and for the shards themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence

from google.protobuf.json_format import MessageToDict

from onoma.enum_names import MODE_VALUES
from onoma.v1 import attribution_pb2 as pb
from services.attribution.tables import MapRun


def provenance(run: MapRun) -> pb.MapProvenance:
    """The run as a message; what an import does not know stays unset."""
    return pb.MapProvenance(
        method=run.method,
        model=run.model,
        model_hash=run.model_hash,
        attachment_layer=run.attachment_layer,
        map_layer=run.map_layer,
        map_height=run.map_height,
        map_width=run.map_width,
        mode=MODE_VALUES.get(run.mode),
        contrastive=None if run.archive_hash else run.contrastive,
        xnn_set=run.xnn_set,
        xnn_hash=run.xnn_hash,
        dataset=run.dataset,
        dataset_hash=run.dataset_hash,
        significant_share=run.significant_share,
        already_significant=run.already_significant,
        onoma_version=run.version,
        archive_hash=run.archive_hash,
        parameters_json=run.parameters,
    )


def shard_metadata(
    study_id: str, made_by: pb.MapProvenance, image_ids: Sequence[str], categories: Sequence[str]
) -> dict[str, str]:
    """What a shard says of itself: what made its maps, and the image and category of each."""
    return {
        "format": "onoma-maps",
        "study_id": study_id,
        "provenance": json.dumps(MessageToDict(made_by, preserving_proto_field_name=True)),
        "image_ids": json.dumps(list(image_ids)),
        "categories": json.dumps(list(categories)),
    }
