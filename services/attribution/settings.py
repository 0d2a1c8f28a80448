"""What only the attribution service is told, as ONOMA_* environment variables."""

from typing import Literal

from pydantic import Field

from onoma.science.map_archive import MAX_BYTES
from services.runtime.decoding import PictureSettings


class AttributionSettings(PictureSettings):
    """Limits on what comes in, and how much is done at once."""

    map_batch_images: int = Field(
        0,
        ge=0,
        description="Images of a forward pass, halved where memory ends; 0: by the device's free memory.",
    )
    map_shard_images: int = Field(
        256,
        gt=0,
        description="Images whose maps are one object and one commit; what a job that is killed loses at most.",
    )
    maps_precision: Literal["float32", "tf32", "bf16"] = Field(
        "float32",
        description="Of the mass on its way down (bf16), or of all matrix products on a GPU (tf32).",
    )
    max_import_bytes: int = Field(
        MAX_BYTES, gt=0, description="Largest archive of maps to import, and its maps unpacked."
    )
