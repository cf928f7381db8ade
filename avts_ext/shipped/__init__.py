"""A small model that comes with the package, so that `avts sync` and `avts localize` work at once.

It knows the generated world and nothing else. These commands made it (4 minutes of one CPU core)::

    avts world train --videos 640 --seed 100
    avts pretrain --config configs/world.yaml --data.root train/videos \\
        --data.cache_dir train/cache --run.out_dir runs/shipped --run.seed 100
    cp runs/shipped/last.safetensors avts_ext/shipped/world.safetensors
    avts world calibration --videos 200 --seed 101
    avts calibrate avts_ext/shipped/world.safetensors calibration

The weights are those that commit e83d04d trains; three runs with torch 2.14.1 on one x86-64 machine
gave the same bytes. A later version resamples sound with other roundings, as another CPU or torch
rounds differently, and gives another model of the same kind.
"""

from pathlib import Path

__all__ = ["WORLD_MODEL", "WORLD_MODEL_SHA256"]

WORLD_MODEL = Path(__file__).with_name("world.safetensors")
WORLD_MODEL_SHA256 = "a2db52685d7546bb1a9894f7ffd9b17b8e4a06421575fe81e5275948a6f60bff"
