"""The verb `export`: a tower as a file for other runtimes."""

from __future__ import annotations

import json
from typing import Literal

from avts_ext.models.export import export as export_tower
from avts_ext.models.pretrained import load_pretrained


def export(checkpoint: str, tower: Literal["audio", "video"], output: str) -> None:
    """Write a trained tower for torch.export or ONNX, checked against the original.

    Prints what must be done to the input before, as JSON. The file maps normalised input to the
    last feature map and the embedding; the batch size is free.

    Args:
        checkpoint: A model that pretraining saved.
        tower: Which half of it.
        output: The file, ending in .pt2 or .onnx.
    """
    towers = load_pretrained(checkpoint)
    encoder = towers.audio if tower == "audio" else towers.video
    export_tower(encoder, output)
    print(json.dumps(encoder.preprocessing, indent=2))
