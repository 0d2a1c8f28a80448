"""One picture explained on request; nothing is stored."""

from __future__ import annotations

import hashlib

import numpy as np

from onoma.science.activations import Explained, explain
from onoma.science.pictures import BrokenPicture
from onoma.v1 import attribution_pb2 as pb
from onoma.v1 import inference_pb2, types_pb2
from services.attribution.explainers import Explainers, look_at, picture_seen
from services.attribution.plans import SIGNIFICANT_SHARE, Network
from services.attribution.shards import pack
from services.runtime.errors import InvalidArgument
from services.runtime.preprocessing import preprocessing_of


def attribute(
    explainers: Explainers,
    network: Network,
    category: str,
    content: bytes,
    max_pixels: int,
    *,
    contrastive: bool = True,
) -> pb.AttributeResponse:
    """Significant activations and maps of one picture.

    Args:
        category: class to explain; the network's own answer when empty.
        contrastive: what kind of map.
    Raises:
        InvalidArgument: the file is no picture, or the model has no such class.
        FailedPrecondition: the set has no xNN of the class.
    """
    model = network.model
    classes = list(model.classes)
    if category and category not in classes:
        raise InvalidArgument(f"model '{model.name}' has no class '{category[:80]}'")
    preprocessing = preprocessing_of(model.preprocessing)
    try:
        pixels = picture_seen(content, preprocessing, max_pixels)
    except BrokenPicture as error:
        raise InvalidArgument(f"the picture cannot be read: {error}") from error
    explainer = explainers.model(model)
    seen = look_at(explainer, [pixels], preprocessing)
    category = category or classes[int(seen.scores[0].argmax())]
    settings = network.xnn_set.settings
    share = settings.significant_share if settings.HasField("significant_share") else SIGNIFICANT_SHARE
    xnn = explainers.xnn(network, category)
    explained = explain(explainer, xnn, classes.index(category), seen, share, contrastive=contrastive)
    return _response(explained, category, model, hashlib.sha256(content).hexdigest())


def _response(
    explained: Explained, category: str, model: inference_pb2.Model, image_id: str
) -> pb.AttributeResponse:
    """Activations in order of contribution."""
    order = np.argsort(-explained.contributions, kind="stable")
    packed = pack(explained.maps[order])
    ids = [str(place) for place in range(len(order))]
    return pb.AttributeResponse(
        activations=types_pb2.ActivationColumns(
            activation_id=ids,
            image_id=[image_id] * len(ids),
            category=[category] * len(ids),
            x_feature=explained.x_features[order],
            x=explained.values[order],
            contribution=explained.contributions[order],
            share=explained.shares[order],
            map_sum=explained.map_sums[order],
        ),
        maps=types_pb2.MapColumns(
            activation_id=ids,
            height=model.map_height,
            width=model.map_width,
            scale=packed.scales,
            values=packed.data,
        ),
        image=types_pb2.ExplainedImageColumns(
            image_id=[image_id],
            category=[category],
            dnn_score=explained.dnn_scores,
            xnn_score=explained.xnn_scores,
            predicted_class=[model.classes[int(explained.predicted[0])]],
            significant_count=[len(ids)],
        ),
    )
