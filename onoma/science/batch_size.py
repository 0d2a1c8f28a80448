"""How many images go through a network at once, by what the device has left."""

from __future__ import annotations

import math

import torch

from onoma.science.explainer import Explainer
from onoma.science.forward_pass import below_map_layer
from onoma.science.nodes import shape_of

FEWEST = 8
MOST_ON_CPU, MOST_ON_GPU = 16, 512  # on a CPU more bring nothing and leave the caches
_BYTES_ON_CPU = 2**29
_SHARE_OF_GPU = 4  # of the free memory; mass on its way down takes its own (`draw`)
_LAYERS_ALIVE = 4  # of the widest below the map layer: input, output, what the convolution works in, a branch


def images_at_once(explainer: Explainer, free_bytes: int | None = None) -> int:
    """A power of two, from 8 to 16 on a CPU and to 512 on a GPU.

    Args:
        free_bytes: of the device's memory; None: as it is now.
    """
    on_gpu = explainer.device.type == "cuda"
    if free_bytes is None:
        free_bytes = (
            int(torch.cuda.mem_get_info(explainer.device)[0]) if on_gpu else _SHARE_OF_GPU * _BYTES_ON_CPU
        )
    fitting = free_bytes // _SHARE_OF_GPU // bytes_an_image(explainer)
    most = MOST_ON_GPU if on_gpu else MOST_ON_CPU
    return min(most, max(FEWEST, 1 << max(fitting, 1).bit_length() - 1))


def bytes_an_image(explainer: Explainer) -> int:
    """Memory of one image's forward pass: what is kept above the map layer, and the widest layers below it."""
    kept = sum(math.prod(shape_of(node)[1:]) for node in explainer.path if shape_of(node))
    widest = max(math.prod(shape_of(node)[1:]) for node in below_map_layer(explainer))
    return (kept + _LAYERS_ALIVE * widest) * torch.float32.itemsize
