"""Studies of any size whose annotators agree as people do: mostly, with splits, merges, slips and gaps."""

import numpy as np

from onoma.science.labels import Vocabulary
from onoma.science.study_data import UNNAMED, Category, Naming, Study
from onoma.science.study_file import StudyFile

WORDS = (
    "eye", "wing", "beak", "tail", "head", "leg", "crest", "breast", "neck", "back", "foot", "belly", "claw", "crown"
)  # fmt: skip


def synthetic_study(
    categories: int = 12,
    annotators: int = 5,
    activations: int = 1500,
    concepts: tuple[int, int] = (5, 12),
    seed: int = 0,
) -> StudyFile:
    """A study with predictions and places.

    Args:
        activations: in all; every image has about two.
        concepts: fewest and most concepts of a naming.
    """
    rng = np.random.default_rng(seed)
    names = [f"class {i:03}" for i in range(categories)]
    counts = np.diff(np.linspace(0, activations, categories + 1).astype(int)).tolist()
    people = tuple(f"annotator {i:02}" for i in range(annotators))
    made = {name: _category(name, count, rng) for name, count in zip(names, counts, strict=True)}
    namings = {}
    for name, category in made.items():
        truth = rng.integers(0, len(WORDS), len(category.activation_ids))
        namings[name] = {person: _naming(person, truth, concepts, rng) for person in people}
    return StudyFile(
        Study(made, people, namings, min_concept_images=1),
        Vocabulary(synonyms=[["beak", "bill"]]),
        {name: rng.random(len(category.image_ids)) < 0.9 for name, category in made.items()},
        {name: rng.random(len(category.activation_ids)) for name, category in made.items()},
    )


def _category(name: str, count: int, rng: np.random.Generator) -> Category:
    image_count = max(count // 2, 1)
    return Category(
        name,
        tuple(f"{name}/{i}" for i in range(image_count)),
        tuple(f"{name}/a{i}" for i in range(count)),
        rng.integers(0, image_count, count).astype(np.int32),
        rng.integers(0, 8, count).astype(np.int32),
    )


def _naming(person: str, truth: np.ndarray, concepts: tuple[int, int], rng: np.random.Generator) -> Naming:
    """The truth seen by one person: parts are lumped together, a fifth slips elsewhere, a tenth has no name."""
    count = int(rng.integers(concepts[0], concepts[1] + 1))
    seen = rng.permutation(np.arange(truth.max(initial=0) + 1) % count)[truth]
    seen = np.where(rng.random(truth.size) < 0.2, rng.integers(0, count, truth.size), seen)
    seen = np.where(rng.random(truth.size) < 0.1, UNNAMED, seen)
    names = [str(name) for name in rng.permutation([*WORDS, *(f"part {i}" for i in range(count))])[:count]]
    return Naming(person, tuple(names), seen.astype(np.int32))
