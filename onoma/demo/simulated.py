"""Simulated annotators, called that wherever they appear: they name maps by where the weight lies, and see nothing."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from onoma.client import Client
from onoma.v1 import naming_pb2

LEFT_IN_POOL = (0.4, 0.1, 0.25)  # share of a category, by turns, that an annotator does not get to
DISCARDED = 0.05


def annotator_name(number: int) -> str:
    """Of the annotator with that number, from 1 on."""
    return f"Simulated annotator {number}"


def name_by_place(
    client: Client,
    study: naming_pb2.Study,
    count: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[str]:
    """Has simulated annotators name an open study; categories that one of them has begun are left as they are.

    Args:
        count: of annotators.
        progress: called with the namings done and their number.
    Returns:
        the token of each one's link.
    """
    tokens, done = [], 0
    for index in range(count):
        invited = client.invite_annotator(
            study.study_id, annotator_name(index + 1), request_id=f"simulated-{index}-{study.study_id}"
        )
        tokens.append(invited.token)
        for category in study.categories:
            naming = client.get_naming(study.study_id, invited.annotator.annotator_id, category)
            if naming.pool and not naming.revision:
                _name_category(client, study, naming, index)
            done += 1
            progress(done, count * len(study.categories))
    return tokens


def _name_category(client: Client, study: naming_pb2.Study, naming: naming_pb2.Naming, index: int) -> None:
    pool = list(naming.pool)
    words = dict(zip(pool, _places(client, study, pool, index), strict=True))
    seen = pool[int(LEFT_IN_POOL[index % len(LEFT_IN_POOL)] * len(pool)) :]
    out = int(DISCARDED * len(pool))
    groups: dict[str, list[str]] = defaultdict(list)
    for id_ in seen[out:]:
        groups[words[id_]].append(id_)
    for word, ids in sorted(groups.items(), key=lambda group: -len(group[1])):
        made = naming_pb2.CreateConcept(concept_id=uuid.uuid4().hex, name=word, activation_ids=ids)
        naming = client.act(naming, naming_pb2.Command(create=made))
    if out:
        noise = naming_pb2.DiscardActivations(
            activation_ids=seen[:out], reason=naming_pb2.DISCARD_REASON_NOISE
        )
        client.act(naming, naming_pb2.Command(discard=noise))


def _places(client: Client, study: naming_pb2.Study, ids: Sequence[str], index: int) -> list[str]:
    """Where each map has its weight, in words; each annotator draws the limits elsewhere."""
    batches = client.get_maps(study.study_id, ids)
    maps = np.concatenate(
        [np.frombuffer(one.values, "<f2").reshape(-1, one.height, one.width) for one in batches]
    ).astype(np.float32)
    maps = np.maximum(maps, 0)
    weights = maps / np.maximum(maps.sum(axis=(1, 2), keepdims=True), 1e-12)
    x = weights.sum(axis=1) @ np.linspace(0, 1, maps.shape[2])
    y = weights.sum(axis=2) @ np.linspace(0, 1, maps.shape[1])
    low, high = np.quantile(y, [0.3, 0.7]) + 0.01 * index
    left, right = np.quantile(x, [0.25, 0.75]) + 0.01 * index

    def word(x: float, y: float) -> str:
        if y < low:
            return "top"
        if y > high:
            return "bottom"
        return "left side" if x < left else "right side" if x > right else "middle"

    return [word(*place) for place in zip(x, y, strict=True)]
