import copy

import pytest
import torch

import avts_ext
from avts_ext.data import ClipSpec
from avts_ext.models import export as export_module
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.models.export import OUTPUT_NAMES, export
from avts_ext.models.pretrained import model_hash


def clips(clip: ClipSpec) -> tuple[torch.Tensor, torch.Tensor]:
    frames = torch.randint(0, 256, (5, clip.n_frames, clip.height, clip.width, 3)).byte()
    return frames, 0.1 * torch.randn(5, clip.n_samples)


@pytest.fixture(params=["world", "paper"])
def saved(request, tmp_path) -> AVTS:
    config = AVTSConfig()
    if request.param == "paper":  # its layers, on clips that do not take a minute
        config = AVTSConfig(
            "mc3_18",
            "vgg",
            64,
            32,
            1,
            "avg",
            clip=ClipSpec(4, 4, 32, 32),
            pixel_std=(0.2, 0.3, 0.4),
        )
    model = AVTS(config)
    model(*clips(config.clip))  # moves BatchNorm's statistics
    model.save(tmp_path / "m.safetensors")
    return model.eval()


def test_towers_are_those_of_the_model(saved, tmp_path):
    loaded = avts_ext.load_pretrained(tmp_path / "m.safetensors")
    frames, waveform = clips(saved.config.clip)
    with torch.no_grad():
        conv5, audio = loaded.audio(loaded.audio.preprocess(waveform))
        last_map, video = loaded.video(loaded.video.preprocess(frames))
        assert torch.equal(audio, saved.embed_audio(waveform))
        assert torch.equal(video, saved.embed_video(frames))
        assert torch.equal(conv5, saved.audio_features(saved.audio_input(waveform)))
        assert torch.equal(last_map, saved.video_features(saved.video_input(frames)))
    assert not loaded.audio.training and not loaded.video.training
    both = [sum(p.numel() for p in m.parameters()) for m in (loaded.audio, loaded.video, saved)]
    assert both[0] + both[1] == both[2]


def test_preprocessing_can_be_done_from_its_description(saved, tmp_path):
    loaded = avts_ext.load_pretrained(tmp_path / "m.safetensors")
    frames, waveform = clips(saved.config.clip)
    told = loaded.video.preprocessing
    mean, std = (torch.tensor(told[name]) for name in ("mean", "std"))
    by_hand = (frames * told["scale"] - mean) / std
    torch.testing.assert_close(
        loaded.video.preprocess(frames).permute(0, 2, 3, 4, 1), by_hand, atol=1e-4, rtol=1e-4
    )
    told = loaded.audio.preprocessing
    log_mel = avts_ext.LogMelSpectrogram(**told["log_mel"])(waveform)
    by_hand = ((log_mel - told["mean"]) / told["std"]).unsqueeze(1)
    torch.testing.assert_close(loaded.audio.preprocess(waveform), by_hand)


@pytest.mark.parametrize("tower", ["audio", "video"])
def test_exports_run_elsewhere_and_agree(saved, tower, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    encoder = getattr(avts_ext.load_pretrained(tmp_path / "m.safetensors"), tower)
    frames, waveform = clips(saved.config.clip)
    inputs = encoder.preprocess(waveform if tower == "audio" else frames).contiguous()
    with torch.no_grad():
        expected = encoder(inputs)
    export(encoder, tmp_path / "tower.pt2")
    export(encoder, tmp_path / "tower.onnx")
    from_torch = torch.export.load(tmp_path / "tower.pt2").module()(inputs)
    session = onnxruntime.InferenceSession(tmp_path / "tower.onnx")
    assert [output.name for output in session.get_outputs()] == list(OUTPUT_NAMES)
    from_onnx = session.run(None, {"input": inputs.numpy()})
    for wanted, torch_got, onnx_got in zip(expected, from_torch, from_onnx, strict=True):
        scale = wanted.abs().max().item()
        torch.testing.assert_close(torch_got, wanted, atol=1e-4 * scale, rtol=0)
        torch.testing.assert_close(torch.from_numpy(onnx_got), wanted, atol=1e-4 * scale, rtol=0)


def test_export_refuses_what_it_cannot_vouch_for(tmp_path, monkeypatch):
    AVTS(AVTSConfig()).save(tmp_path / "m.safetensors")
    encoder = avts_ext.load_pretrained(tmp_path / "m.safetensors").audio
    with pytest.raises(ValueError, match=r"\.pt2 or \.onnx"):
        export(encoder, "tower.bin")
    with pytest.raises(ValueError, match="training mode"):
        export(copy.deepcopy(encoder).train(), "tower.pt2")
    write = export_module._write_pt2

    def write_wrongly(encoder, example):
        data, run = write(encoder, example)
        return data, lambda inputs: run(inputs + 1)

    monkeypatch.setattr(export_module, "_write_pt2", write_wrongly)
    with pytest.raises(ValueError, match="was not written: its features differ"):
        export(encoder, "tower.pt2")
    assert not (tmp_path / "tower.pt2").exists()


def test_hash_tells_models_apart():
    model = AVTS(AVTSConfig())
    same, other = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        other.audio_head[1].weight[0, 0] += 1e-6
    assert model_hash(model) == model_hash(same) != model_hash(other)


def test_the_package_has_no_other_lazy_names():
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = avts_ext.no_such_thing
