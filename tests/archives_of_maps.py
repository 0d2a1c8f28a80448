"""Archives of maps as somebody else would write them: by the script in the docs, and spoilt ones."""

import csv
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np

_DOCS = Path(__file__).parents[1] / "docs" / "importing-maps.md"

MANIFEST = {
    "format": "onoma-maps",
    "version": 1,
    "method": "Grad-CAM",
    "model": "somebody's vgg16",
    "layer": "features.29",
    "parameters": {"target": "logit", "smooth": 0.5},
}
COLUMNS = ("image", "category", "unit", "weight")


def script_of_the_docs() -> str:
    """The page's Python."""
    return re.search(r"```python\n(.*?)```", _DOCS.read_text(encoding="utf-8"), re.DOTALL)[1]


def npy(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def table(columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue().encode()


def entries(rows: list[tuple[object, ...]], maps: np.ndarray, **manifest: object) -> dict[str, bytes]:
    """Content of an archive's entries; keyword arguments change the manifest, None takes a key out."""
    said = {key: value for key, value in (MANIFEST | manifest).items() if value is not None}
    return {
        "manifest.json": json.dumps(said).encode(),
        "activations.csv": table(COLUMNS, rows),
        "maps.npy": npy(maps),
    }


def packed(content: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def random_maps(count: int, height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(0).random((count, height, width), np.float32)
