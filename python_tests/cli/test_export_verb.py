import json

import torch

from avts_ext.cli.__main__ import main
from avts_ext.models.avts import AVTS, AVTSConfig

COMMAND = ["export", "--checkpoint", "m.safetensors", "--tower", "audio", "--output"]


def test_writes_the_tower_and_tells_its_preprocessing(tmp_path, capsys):
    AVTS(AVTSConfig()).save(tmp_path / "m.safetensors")
    assert main([*COMMAND, "audio.pt2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sample_rate_hz"] == 16000 and told["log_mel"]["n_mels"] == 40
    features, embedding = torch.export.load("audio.pt2").module()(torch.zeros(4, 1, 40, 100))
    assert features.shape == (4, 64, 5, 12) and embedding.shape == (4, 128)


def test_refuses_other_suffixes(tmp_path, capsys):
    AVTS(AVTSConfig()).save(tmp_path / "m.safetensors")
    assert main([*COMMAND, "audio.pb"]) == 1
    assert "path must end in .pt2 or .onnx, got 'audio.pb'" in capsys.readouterr().err
