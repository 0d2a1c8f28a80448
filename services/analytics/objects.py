"""Where the objects of a study's pictures are, and how much of each map lies on them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onoma.science.pictures import Preprocessing, box_seen
from onoma.science.practice import PART_RADIUS, share_inside, share_near
from onoma.science.study_data import Category, Study
from onoma.v1 import attribution_pb2, inference_pb2
from services.analytics.study import StudyReader
from services.runtime.peers import asking

_MAPS_A_CALL = 10_000


@dataclass(frozen=True)
class OnObjects:
    """How much of each map of a category lies on its picture's object.

    Attributes:
        inside: (S,) share of the map's mass in [0, 1], NaN where it is not known or the map has no mass.
        by_points: (S,) bool, whether it is known by part points, and not by a bounding box.
    """

    inside: NDArray[np.float64]
    by_points: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Object:
    """An object in a picture as the network sees it, by its box or by its points.

    Attributes:
        box: left, top, right, bottom, as shares of the width and height; None where there are points only.
        points: (p, 2) x and y likewise.
    """

    box: tuple[float, float, float, float] | None
    points: NDArray[np.float64]

    def share_of(self, map_hw: NDArray[np.float64]) -> float | None:
        """Share of the map's mass on the object; None for a map without mass."""
        if self.box is None:
            return share_near(map_hw, self.points, PART_RADIUS)
        left, top, right, bottom = self.box
        if left < right and top < bottom:
            return share_inside(map_hw, self.box)
        return 0.0 if map_hw.any() else None  # the object was cropped away


def on_objects(reader: StudyReader, study: Study) -> dict[str, OnObjects]:
    """Share of each map's mass on its picture's object: inside its box, or near its part points where it has no box.

    Returns:
        By category; a category is left out where no picture of it has either.
    """
    preprocessing = reader.preprocessing()
    found = {}
    for name, category in study.categories.items():
        objects = _objects(reader, name, preprocessing)
        if objects:
            found[name] = _on_objects(reader, category, objects)
    return found


def _objects(reader: StudyReader, category: str, preprocessing: Preprocessing) -> dict[str, _Object]:
    """Objects by image id, of the pictures that say where theirs is."""
    objects: dict[str, _Object] = {}
    request = inference_pb2.ListImagesRequest(
        dataset=reader.study.dataset, part=reader.study.part, class_name=category, page_size=10_000
    )
    while True:
        with asking("inference"):
            response = reader.peers.inference.ListImages(request, timeout=reader.timeout_s)
        for image in response.images:
            if image.bounding_box or image.part_points:
                objects[image.image_id] = _object(image, preprocessing)
        if not response.next_page_token:
            return objects
        request.page_token = response.next_page_token


def _object(image: inference_pb2.Image, preprocessing: Preprocessing) -> _Object:
    left, top, right, bottom = box_seen((image.width, image.height), preprocessing)
    corner, size = np.array([left, top]), np.array([right - left, bottom - top])
    points = np.array([[point.x, point.y] for point in image.part_points]).reshape(-1, 2)
    seen = (points - corner) / size
    if not image.bounding_box:
        return _Object(None, seen)
    x, y, width, height = image.bounding_box
    edges = (np.array([[x, y], [x + width, y + height]]) - corner) / size
    clipped = np.clip(edges, 0, 1).ravel().tolist()
    return _Object((clipped[0], clipped[1], clipped[2], clipped[3]), seen)


def _on_objects(reader: StudyReader, category: Category, objects: dict[str, _Object]) -> OnObjects:
    inside = np.full(len(category.activation_ids), np.nan)
    of_activation = [objects.get(category.image_ids[image]) for image in category.image]
    known = [i for i, found in enumerate(of_activation) if found is not None]
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
                    found = of_activation[i]
                    share = None if found is None else found.share_of(one)
                    inside[i] = np.nan if share is None else share
                    position += 1
    by_points = [found is not None and found.box is None for found in of_activation]
    return OnObjects(inside, np.array(by_points, dtype=np.bool_))
