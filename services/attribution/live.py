"""One picture explained on request; nothing is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from onoma.science.activations import Explained, explain_classes
from onoma.science.pictures import BrokenPicture
from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import inference_pb2, types_pb2
from services.attribution.explainers import Explainers, look_at
from services.attribution.plans import Network
from services.attribution.provenance import provenance
from services.attribution.runs import drawn_by
from services.attribution.shards import pack
from services.runtime.decoding import Decoders
from services.runtime.errors import InvalidArgument
from services.runtime.preprocessing import preprocessing_of


def attribute(
    explainers: Explainers,
    network: Network,
    categories: Sequence[str],
    content: bytes,
    decoders: Decoders,
    *,
    contrastive: bool = True,
    significant_share: float | None = None,
) -> pb.AttributeResponse:
    """Significant activations and maps of one picture.

    Args:
        categories: classes to explain, all in one pass down; the network's own answer when empty.
        contrastive: what kind of map.
        significant_share: of the positive evidence, in (0, 1]; that of the set where none is given.
    Raises:
        InvalidArgument: the file is no picture, the share is none, the model has no such class, or a class comes twice.
        FailedPrecondition: the set has no xNN of a class.
    """
    model = network.model
    classes = list(model.classes)
    share = network.xnn_set.settings.significant_share if significant_share is None else significant_share
    if not 0 < share <= 1:
        raise InvalidArgument(f"significant_share {share}: use a share over 0, at most 1")
    for category in categories:
        if category not in classes:
            raise InvalidArgument(f"model '{model.name}' has no class '{category[:80]}'")
        if categories.count(category) > 1:
            raise InvalidArgument(f"class '{category}' is asked for twice; once is enough")
    preprocessing = preprocessing_of(model.preprocessing)
    try:
        pixels = decoders.seen(content, preprocessing)
    except BrokenPicture as error:
        raise InvalidArgument(f"the picture cannot be read: {error}") from error
    explainer = explainers.model(model)
    with explainers.matmul_precision():
        seen = look_at(explainer, [pixels], preprocessing)
    categories = categories or [classes[int(seen.scores[0].argmax())]]
    xnns = [(classes.index(category), explainers.xnn(network, category)) for category in categories]
    with explainers.matmul_precision():
        explained = explain_classes(explainer, xnns, seen, share, contrastive=contrastive)
    response = pb.AttributeResponse(
        provenance=provenance(drawn_by(network, categories, share, contrastive, explainers.precision)),
        maps=types_pb2.MapColumns(height=model.map_height, width=model.map_width),
    )
    image_id = hashlib.sha256(content).hexdigest()
    for category, of_class in zip(categories, explained, strict=True):
        _add(response, of_class, category, model, image_id)
    return response


def _add(
    response: pb.AttributeResponse,
    explained: Explained,
    category: str,
    model: inference_pb2.Model,
    image_id: str,
) -> None:
    """Adds one class: its activations in order of contribution, numbered on."""
    order = np.argsort(-explained.contributions, kind="stable")
    packed = pack(explained.maps[order])
    first = len(response.activations.activation_id)
    ids = [str(first + place) for place in range(len(order))]
    response.activations.MergeFrom(
        types_pb2.ActivationColumns(
            activation_id=ids,
            image_id=[image_id] * len(ids),
            category=[category] * len(ids),
            x_feature=explained.x_features[order],
            x=explained.values[order],
            contribution=explained.contributions[order],
            share=explained.shares[order],
            map_sum=explained.map_sums[order],
        )
    )
    response.maps.activation_id.extend(ids)
    response.maps.scale.extend(packed.scales)
    response.maps.values += packed.data
    response.image.MergeFrom(
        types_pb2.ExplainedImageColumns(
            image_id=[image_id],
            category=[category],
            dnn_score=explained.dnn_scores,
            xnn_score=explained.xnn_scores,
            predicted_class=[model.classes[int(explained.predicted[0])]],
            significant_count=[len(ids)],
        )
    )
