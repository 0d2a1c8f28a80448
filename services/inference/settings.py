"""What only the inference service is told, as ONOMA_* environment variables."""

from __future__ import annotations

from pydantic import Field, model_validator

from services.inference.batching import BatchLimits
from services.runtime.decoding import DECODE_S, PictureSettings


class InferenceSettings(PictureSettings):
    """Limits on what comes in, and how work is shared out."""

    max_upload_bytes: int = Field(1 << 30, gt=0, description="Largest object that UploadObject takes.")
    import_workers: int = Field(
        2,
        gt=0,
        description="Pictures of an import that are read at once, and checked by ONOMA_DECODE_WORKERS.",
    )
    batch_images: int = Field(32, gt=0, description="Images of callers that the network takes at once.")
    batch_wait_ms: float = Field(
        2.0, ge=0, description="Milliseconds that an image waits for others while the network is idle."
    )
    queue_images: int = Field(
        1024, gt=0, description="Images that may wait for one network; calls beyond are RESOURCE_EXHAUSTED."
    )
    streams: int = Field(
        16, gt=0, description="PredictStream calls answered at once; calls beyond are RESOURCE_EXHAUSTED."
    )
    decode_workers: int = Field(
        4,
        gt=0,
        description="Processes that decode pictures, for all calls; a picture of 64 MP takes one of them 1.2 GB.",
    )
    decode_s: float = Field(
        DECODE_S, gt=0, description="Seconds after which a picture that is still being decoded is refused."
    )
    training_workers: int = Field(
        0,
        ge=0,
        description="Groups of classes whose xNNs are trained at once on a CPU; 0: as many as cores. A GPU takes one.",
    )
    training_group: int = Field(
        0,
        ge=0,
        description="Classes whose xNNs are trained together in batched products; 0: 1 on a CPU, and on a GPU as many "
        "as a quarter of its memory holds, at most 32.",
    )

    @model_validator(mode="after")
    def _fit_one_caller_into_the_queue(self) -> InferenceSettings:
        if self.queue_images < 2 * self.batch_images:
            raise ValueError(
                f"ONOMA_QUEUE_IMAGES={self.queue_images}: at least twice ONOMA_BATCH_IMAGES ({self.batch_images}) is "
                "needed, which is what one call keeps in the queue"
            )
        return self

    @property
    def batches(self) -> BatchLimits:
        """How callers' images are gathered."""
        return BatchLimits(self.batch_images, self.batch_wait_ms / 1000, self.queue_images)
