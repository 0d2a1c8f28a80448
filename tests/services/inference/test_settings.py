"""What the inference service alone is told."""

from pathlib import Path

import pytest

from services.inference.settings import InferenceSettings
from services.runtime.settings import read_settings

DOCS = Path(__file__).parents[3] / "docs" / "serving.md"


def test_a_queue_that_one_call_would_fill_is_refused():
    line = r"^ONOMA_QUEUE_IMAGES=63: at least twice ONOMA_BATCH_IMAGES \(32\)"
    with pytest.raises(ValueError, match=line):
        read_settings(InferenceSettings, batch_images=32, queue_images=63)


@pytest.mark.parametrize(
    "name", ["batch_images", "batch_wait_ms", "queue_images", "streams", "decode_workers"]
)
def test_the_docs_have_the_default(name):
    default = InferenceSettings.model_fields[name].default
    assert f"| `ONOMA_{name.upper()}` | {default:g} |" in DOCS.read_text()


@pytest.mark.parametrize("name", ["training_workers", "training_group"])
def test_the_page_on_xnns_has_the_default(name):
    default = InferenceSettings.model_fields[name].default
    assert f"| `ONOMA_{name.upper()}` | {default} |" in (DOCS.parent / "xnns.md").read_text()
