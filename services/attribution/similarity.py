"""Which activations of a category are alike: the cosine of their maps' pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine
from sqlmodel import Session, col, select

from services.attribution import runs
from services.attribution.shards import read_pooled
from services.attribution.tables import Activation
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from services.runtime.objects import ObjectStore

MAX_ASKED = 10_000
_CATEGORIES_KEPT = 8


class Similarity:
    """Sorts by similarity; the features of the categories last asked about are kept."""

    def __init__(self, engine: Engine, store: ObjectStore) -> None:
        self._engine = engine
        self._store = store
        self._features = lru_cache(maxsize=_CATEGORIES_KEPT)(self._read)

    def order(
        self, study_id: str, category: str, activation_ids: Sequence[str]
    ) -> tuple[list[str], list[float]]:
        """All activations of a category, the most similar first, and how similar each is.

        Similarity is the cosine, in [-1, 1], of an activation's pooled features with the mean of those asked about;
        ties stand by id.

        Raises:
            InvalidArgument: none is asked about, or over 10,000.
            FailedPrecondition: the study's maps are not all there, or came without features.
            NotFound: an id is not of this category.
        """
        if not 1 <= len(activation_ids) <= MAX_ASKED:
            raise InvalidArgument(f"{len(activation_ids)} activations to compare with; name 1 to {MAX_ASKED}")
        ids, features = self._features(study_id, category)
        places = {id_: place for place, id_ in enumerate(ids)}
        unknown = next((id_ for id_ in activation_ids if id_ not in places), None)
        if unknown is not None:
            raise NotFound(f"category '{category[:80]}' has no activation '{unknown[:80]}'")
        mean = features[[places[id_] for id_ in activation_ids]].mean(0)
        length = float(np.linalg.norm(mean))
        cosines = features @ (mean / length) if length > 0 else np.zeros(len(ids), np.float32)
        order = np.argsort(-cosines, kind="stable")
        return [ids[place] for place in order], cosines[order].clip(-1, 1).tolist()

    def _read(self, study_id: str, category: str) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Ids of a category's activations, sorted, and the pooled features of each, (n, C)."""
        query = select(Activation.activation_id, Activation.shard_key, Activation.shard_index).where(
            Activation.study_id == study_id, Activation.category == category
        )
        with Session(self._engine) as opened:
            runs.completed(opened, study_id)
            rows = opened.exec(query.order_by(col(Activation.activation_id))).all()
        if not rows:
            raise NotFound(f"the study has no activation in category '{category[:80]}'")
        of_shards = {key: read_pooled(self._store, key) for key in {key for _, key, _ in rows}}
        features = []
        for _, key, index in rows:
            pooled = of_shards[key]
            if pooled is None:
                raise FailedPrecondition(
                    "these maps came without the network's features (they were imported, or drawn by an "
                    "older version), so nothing says which are alike",
                    "NO_FEATURES",
                )
            features.append(pooled[index])
        return [activation_id for activation_id, _, _ in rows], np.stack(features)
