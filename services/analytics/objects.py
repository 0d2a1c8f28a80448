"""Where the objects of a study's pictures are, and how much of each map lies on them."""

import numpy as np
from numpy.typing import NDArray

from onoma.science.pictures import Preprocessing, box_seen
from onoma.science.practice import share_inside
from onoma.science.study_data import Category, Study
from onoma.v1 import attribution_pb2, inference_pb2
from services.analytics.study import StudyReader
from services.runtime.peers import asking
from services.runtime.preprocessing import preprocessing_of

_MAPS_A_CALL = 10_000

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the width and height of what the network sees."""


def inside_objects(reader: StudyReader, study: Study) -> dict[str, NDArray[np.float64]]:
    """Share of each map's mass inside the bounding box of its picture's object.

    Returns:
        By category, (S,) in [0, 1], NaN where the picture has no box or the map no mass; a category is left out where
        no picture of it has one.
    """
    request = inference_pb2.ListImagesRequest(
        dataset=reader.study.dataset, part=reader.study.part, page_size=1
    )
    with asking("inference"):
        first = reader.peers.inference.ListImages(request, timeout=reader.timeout_s).images
        if not any(image.bounding_box for image in first):  # a data set has boxes, or it has none
            return {}
        model = reader.peers.inference.GetModel(
            inference_pb2.GetModelRequest(name=reader.study.model), timeout=reader.timeout_s
        ).model
    preprocessing = preprocessing_of(model.preprocessing)
    found = {}
    for name, category in study.categories.items():
        boxes = _boxes(reader, name, preprocessing)
        if boxes:
            found[name] = _inside(reader, category, boxes)
    return found


def _boxes(reader: StudyReader, category: str, preprocessing: Preprocessing) -> dict[str, Box]:
    """Boxes by image id; those of pictures whose object was cropped away have no area."""
    boxes: dict[str, Box] = {}
    request = inference_pb2.ListImagesRequest(
        dataset=reader.study.dataset, part=reader.study.part, class_name=category, page_size=10_000
    )
    while True:
        with asking("inference"):
            response = reader.peers.inference.ListImages(request, timeout=reader.timeout_s)
        for image in response.images:
            if image.bounding_box:
                boxes[image.image_id] = _box(image, preprocessing)
        if not response.next_page_token:
            return boxes
        request.page_token = response.next_page_token


def _box(image: inference_pb2.Image, preprocessing: Preprocessing) -> Box:
    left, top, right, bottom = box_seen((image.width, image.height), preprocessing)
    x, y, width, height = image.bounding_box
    across = [(edge - left) / (right - left) for edge in (x, x + width)]
    down = [(edge - top) / (bottom - top) for edge in (y, y + height)]
    edges = np.clip([across[0], down[0], across[1], down[1]], 0, 1).tolist()
    return edges[0], edges[1], edges[2], edges[3]


def _inside(reader: StudyReader, category: Category, boxes: dict[str, Box]) -> NDArray[np.float64]:
    inside = np.full(len(category.activation_ids), np.nan)
    known = [i for i, image in enumerate(category.image) if category.image_ids[image] in boxes]
    for start in range(0, len(known), _MAPS_A_CALL):
        asked = known[start : start + _MAPS_A_CALL]
        request = attribution_pb2.GetMapsRequest(
            study_id=reader.study.study_id, activation_ids=[category.activation_ids[i] for i in asked]
        )
        position = 0
        with asking("attribution"):
            for response in reader.peers.attribution.GetMaps(request, timeout=reader.timeout_s):
                maps = np.frombuffer(response.maps.values, "<f2").astype(np.float64)
                for one in maps.reshape(-1, response.maps.height, response.maps.width):
                    i = asked[position]
                    left, top, right, bottom = box = boxes[category.image_ids[category.image[i]]]
                    is_seen = left < right and top < bottom
                    share = share_inside(one, box) if is_seen else 0.0
                    inside[i] = np.nan if share is None or not one.any() else share
                    position += 1
    return inside
