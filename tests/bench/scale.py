"""What a million and a hundred million images cost: arithmetic on measured rates. `--write` puts it into docs/scale.md.

Every number here names where it was measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
BEGIN, END = "<!-- computed by tests/bench/scale.py -->", "<!-- end -->"
SIZES = (1_000_000, 100_000_000)

CORES = 2  # of docs/benchmarks.md, VGG16 at 224 px, significant X-features only, contrastive:
IMAGES_PER_S = 3.88  # from pixels
IMAGES_PER_S_KEPT = 11.12  # from kept activations
MAPS_AN_IMAGE = 2  # 7.8 / 3.88 there
BYTES_A_MAP = 1_524  # of a shard, 14 x 14 cells and 512 pooled features, 512 maps (27 November 2026)
BYTES_KEPT_AN_IMAGE = 401_000  # activations at pool4, from the map layer's 512 x 14 x 14 float32
BYTES_SEEN_AN_IMAGE = (
    4 * (4_096 + 1_000) + 8
)  # of a shard: VGG16's features, its 1,000 scores, the image's position
# Bytes of a row in PostgreSQL 15, indexes included: python -m tests.bench.row_sizes (27 November 2026).
EXPLAINED_IMAGE, ACTIVATION, STUDY_ACTIVATION = 344, 586, 263
ACT, CONCEPT, PLACEMENT = 939, 573, 377
ACTS_A_PLACEMENT, CONCEPTS_A_PLACEMENT = (
    0.6,
    0.1,
)  # of ten activations five make a concept and five come one by one
IMAGES_A_SHARD = 256  # default of ONOMA_MAP_SHARD_IMAGES
GPU_IMAGES_PER_S = 661.1  # one H100, likewise, from pixels that are decoded (27 November 2026)


def table() -> str:
    """The page's table, in Markdown, and what a row takes."""
    lines = [
        "| | " + " | ".join(f"{size:,} images" for size in SIZES) + " |",
        "|---|" + "---:|" * len(SIZES),
    ]
    lines += [f"| {what} | " + " | ".join(value(size) for size in SIZES) + " |" for what, value in _ROWS]
    return "\n".join([*lines, "", f"Bytes of a row in PostgreSQL 15, indexes included: {_ROW_SIZES}."])


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f}"


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:,.1f} GB"


_ROW_SIZES = (
    f"an explained image {EXPLAINED_IMAGE}, an activation {ACTIVATION}, the same in naming {STUDY_ACTIVATION}, an act "
    f"{ACT}, a concept {CONCEPT}, a placement {PLACEMENT}"
)
_NAMED = ACTS_A_PLACEMENT * ACT + CONCEPTS_A_PLACEMENT * CONCEPT + PLACEMENT  # bytes an activation

_ROWS = (
    ("core-hours, from pixels (measured rate)", lambda n: _hours(n * CORES / IMAGES_PER_S)),
    ("core-hours, from kept activations (measured rate)", lambda n: _hours(n * CORES / IMAGES_PER_S_KEPT)),
    ("H100-hours, from decoded pixels (measured rate)", lambda n: _hours(n / GPU_IMAGES_PER_S)),
    ("maps in the object store", lambda n: _gb(n * MAPS_AN_IMAGE * BYTES_A_MAP)),
    ("kept activations, where they are asked for", lambda n: _gb(n * BYTES_KEPT_AN_IMAGE)),
    ("features and scores, of images that train", lambda n: _gb(n * BYTES_SEEN_AN_IMAGE)),
    ("rows: images and activations", lambda n: f"{n * (1 + MAPS_AN_IMAGE):,}"),
    ("their size in PostgreSQL", lambda n: _gb(n * (EXPLAINED_IMAGE + MAPS_AN_IMAGE * ACTIVATION))),
    ("activations again, in naming", lambda n: _gb(n * MAPS_AN_IMAGE * STUDY_ACTIVATION)),
    ("what an annotator adds who names every one", lambda n: _gb(n * MAPS_AN_IMAGE * _NAMED)),
    ("shards: objects, and rows of the ledger", lambda n: f"{-(-n // IMAGES_A_SHARD):,}"),
)


def page_with_table(page: str) -> str:
    """The page with the table as it comes out now."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with_table(PAGE.read_text()))
    else:
        print(table())
