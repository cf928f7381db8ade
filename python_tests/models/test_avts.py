import dataclasses
import json
import re
import warnings

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from avts_ext.data import ClipSpec
from avts_ext.models import avts
from avts_ext.models.avts import AVTS, NORMALIZATIONS, AVTSConfig


def clips(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    frames = torch.randint(0, 256, (count, 8, 64, 64, 3), dtype=torch.uint8)
    return frames, 0.1 * torch.randn(count, 16000)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_stages_make_up_the_embeddings(normalization: str) -> None:
    model = AVTS(AVTSConfig(normalization=normalization)).eval()
    frames, waveform = clips(2)
    with torch.no_grad():
        video_map = model.video_features(model.video_input(frames))
        conv5 = model.audio_features(model.audio_input(waveform))
        video, audio = model(frames, waveform)
        torch.testing.assert_close(video, model.normalize(model.project_video(video_map)))
        torch.testing.assert_close(audio, model.normalize(model.project_audio(conv5)))
    assert video_map.shape == (2, 64, 4, 8, 8)
    assert conv5.shape == (2, 64, 5, 12)
    assert video.shape == audio.shape == (2, 128)


@pytest.mark.parametrize(("normalization", "length"), [("l2", 1.0), ("half_l2", 0.5)])
def test_length_of_embeddings(normalization: str, length: float) -> None:
    video, audio = AVTS(AVTSConfig(normalization=normalization))(*clips(3))
    torch.testing.assert_close(video.norm(dim=1), torch.full((3,), length))
    torch.testing.assert_close(audio.norm(dim=1), torch.full((3,), length))


def test_batch_normalization_has_statistics_of_each_tower() -> None:
    for embedding in AVTS(AVTSConfig(normalization="batch")).train()(*clips(4)):
        torch.testing.assert_close(embedding.mean(0), torch.zeros(128), atol=1e-6, rtol=0)
        spread = embedding.square().mean(0) * 128
        # Dimensions that hardly vary stay below one, because of BatchNorm's epsilon.
        assert spread.max() < 1 + 1e-4 and spread.median() > 0.9


def test_inputs_are_normalised_and_channels_last() -> None:
    model = AVTS(AVTSConfig(log_mel_mean=-3.0, log_mel_std=2.0))
    frames, waveform = clips(2)
    x = model.video_input(frames)
    assert x.shape == (2, 3, 8, 64, 64)
    assert x.is_contiguous(memory_format=torch.channels_last_3d)
    expected = (frames[1, 2, 3, 4, 0].item() / 255 - 0.4) / 0.25
    assert x[1, 0, 2, 3, 4].item() == pytest.approx(expected, abs=1e-6)
    log_mel = model.audio_input(waveform)
    assert log_mel.shape == (2, 1, 40, 100)
    torch.testing.assert_close(log_mel[:, 0] * 2 - 3, model.log_mel(waveform))


def test_each_time_step_has_its_own_dimensions() -> None:
    model = AVTS(AVTSConfig(normalization="none")).eval()
    features = torch.rand(1, 64, 4, 8, 8)
    changed = features.clone()
    changed[:, :, 2] += 1
    with torch.no_grad():
        moved = model.project_video(changed) - model.project_video(features)
    steps = moved.view(32, 4).abs().amax(0) > 0
    assert steps.tolist() == [False, False, True, False]


@pytest.mark.parametrize(("pooling", "pooled"), [("max", 63.0), ("avg", 31.5)])
def test_pooling(pooling: str, pooled: float) -> None:
    model = AVTS(AVTSConfig(pooling=pooling, time_steps=1, normalization="none"))
    ramp = torch.arange(64.0)[torch.randperm(64)]  # over space and, for sound, over time too
    video, audio = ramp.view(1, 1, 1, 8, 8), ramp.view(1, 1, 4, 16)
    expected = torch.full((1, 64, 1), pooled)
    with torch.no_grad():
        torch.testing.assert_close(
            model.project_video(video.expand(1, 64, 4, 8, 8)), model.video_head(expected)
        )
        torch.testing.assert_close(
            model.project_audio(audio.expand(1, 64, 4, 16)), model.audio_head(expected)
        )


def test_towers_of_the_paper_take_clips_of_any_length() -> None:
    config = AVTSConfig("mc3_18", "vgg", time_steps=1, pooling="avg", embedding_dim=16)
    model = AVTS(config).eval()
    for seconds in (1, 2):
        frames = torch.zeros(1, 3 * seconds, 32, 40, 3, dtype=torch.uint8)
        with torch.no_grad():
            for embedding in model(frames, torch.randn(1, 16000 * seconds)):
                assert embedding.shape == (1, 16)


@pytest.mark.parametrize("normalization", ["l2", "batch"])
def test_saved_model_is_the_same_model(tmp_path, normalization: str) -> None:
    clip = ClipSpec(fps="30000/1001", n_frames=8)
    config = AVTSConfig(normalization=normalization, clip=clip, log_mel_mean=-4.0)
    model = AVTS(config)
    frames, waveform = clips(3)
    model.train()(frames, waveform)  # so that BatchNorm has statistics worth saving
    model.save(tmp_path / "model.safetensors")
    loaded = AVTS.load(tmp_path / "model.safetensors")
    assert loaded.config == config
    assert not loaded.training
    with torch.no_grad():
        for ours, theirs in zip(
            loaded(frames, waveform), model.eval()(frames, waveform), strict=True
        ):
            assert torch.equal(ours, theirs)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def saved(path, configuration=None, **tensors: torch.Tensor | None):
    """A saved model whose configuration or some of whose tensors are replaced; None removes one."""
    model = AVTS(AVTSConfig())
    state = model.state_dict() | tensors
    state = {name: tensor.contiguous() for name, tensor in state.items() if tensor is not None}
    text = model.config.to_json() if configuration is None else configuration
    save_file(state, path, {"avts_config": text})


def configuration_with(**changes) -> str:
    return json.dumps(json.loads(AVTSConfig().to_json()) | changes)


def clip(fps: str) -> dict:
    return json.loads(AVTSConfig().to_json())["clip"] | {"fps": fps}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "damaged or no safetensors file: .*header too small"),
        (lambda path: path.write_bytes(bytes(range(256))), "damaged or no safetensors file"),
        (lambda path: torch.save({"a": torch.zeros(2)}, path), "damaged or no safetensors file"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), r"not written by AVTS\.save"),
        (lambda path: saved(path, "{"), "unusable configuration: Expecting property"),
        (lambda path: saved(path, "[]"), r"configuration must be a JSON object, got \[\]"),
        (lambda path: saved(path, configuration_with(depth=3)), "has the unknown key 'depth'"),
        (
            lambda path: saved(path, configuration_with(clip={"shutter": 1})),
            "the clip has the unknown key 'shutter'",
        ),
        (lambda path: saved(path, configuration_with(pooling="mean")), "pooling must be one of"),
        (lambda path: saved(path, configuration_with(hidden_dim="9")), "not supported .* 'str'"),
        (
            lambda path: saved(path, configuration_with(log_mel=[])),
            r"log_mel must be a dict .* got \[\]",
        ),
        (lambda path: saved(path, configuration_with(log_mel={"n_mel": 4})), "got {'n_mel': 4}"),
        (lambda path: saved(path, configuration_with(clip=clip("1/0"))), "fps must be .* '1/0'"),
        (
            lambda path: saved(path, **{"video_head.1.bias": None}),
            r"does not fit .* Missing .* \"video_head\.1\.bias\"",
        ),
        (lambda path: saved(path, extra=torch.zeros(1)), 'does not fit .* Unexpected .* "extra"'),
        (
            lambda path: saved(path, **{"video_head.1.bias": torch.zeros(7)}),
            r"does not fit .* size mismatch for video_head\.1\.bias: .*\[7\]",
        ),
    ],
)
def test_unusable_file_is_named_with_its_fault(tmp_path, write, message: str) -> None:
    path = tmp_path / "model.safetensors"
    write(path)
    with pytest.raises(ValueError, match=f"(?s)^{re.escape(str(path))}.*{message}") as raised:
        AVTS.load(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(AVTSConfig)])
def test_a_file_older_than_a_field_has_its_default(tmp_path, field: str) -> None:
    values = json.loads(AVTSConfig().to_json())
    del values[field]
    saved(tmp_path / "old.safetensors", json.dumps(values))
    assert AVTS.load(tmp_path / "old.safetensors").config == AVTSConfig()


def test_what_an_older_file_does_tell_is_kept(tmp_path) -> None:
    older = {"log_mel_mean": -3.0, "clip": {"n_frames": 4}, "pixel_std": [0.1, 0.2, 0.3]}
    saved(tmp_path / "old.safetensors", json.dumps(older))
    config = AVTS.load(tmp_path / "old.safetensors").config
    assert (config.log_mel_mean, config.clip, config.pixel_std) == (
        -3.0, ClipSpec(n_frames=4), (0.1, 0.2, 0.3)
    )  # fmt: skip


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_truncated_file_is_named(tmp_path, keep: float) -> None:
    path = tmp_path / "model.safetensors"
    saved(path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        AVTS.load(path)


def test_missing_file_and_folder_are_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        AVTS.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        AVTS.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_tower": "i3d"}, "video_tower must be one of mc3_18, .*, got 'i3d'"),
        ({"audio_tower": "mc3_18"}, "audio_tower must be one of vgg, vgg_small"),
        ({"normalization": "L2"}, "normalization must be one of l2, .*, got 'L2'"),
        ({"pooling": "mean"}, "pooling must be one of max, avg, got 'mean'"),
        ({"embedding_dim": 126}, "embedding_dim must be a multiple of time_steps = 4, got 126"),
        ({"time_steps": 0}, "time_steps must be at least 1, got 0"),
        ({"log_mel": {"sample_rate": 8000}}, "sample_rate must be that of clip, 16000 Hz, got 8"),
        ({"log_mel_std": 0.0}, "log_mel_std and pixel_std must be positive"),
    ],
)
def test_contradictory_configuration(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(AVTSConfig(), **change)


def test_wrong_inputs() -> None:
    model = AVTS(AVTSConfig())
    with pytest.raises(TypeError, match=r"frames must be uint8, got torch\.float32"):
        model.embed_video(torch.zeros(1, 8, 64, 64, 3))
    with pytest.raises(ValueError, match=r"frames must be \(B, T, H, W, 3\), got \(1, 3, 8, 64, 6"):
        model.embed_video(torch.zeros(1, 3, 8, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"waveform must be \(B, S\), got \(16000,\)"):
        model.embed_audio(torch.zeros(16000))


def test_a_model_of_another_decoder_is_loaded_with_a_warning(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    AVTS(AVTSConfig()).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AVTS.load(path)
    monkeypatch.setattr(avts, "clips_hash", lambda: "0" * 16)
    with pytest.warns(UserWarning, match="known clips decode to other pictures or sound"):
        AVTS.load(path)


def test_a_model_is_saved_to_the_same_bytes_every_time(tmp_path):
    model, saved = AVTS(AVTSConfig()), set()
    for attempt in range(8):  # safetensors alone sorts two facts by chance
        path = tmp_path / f"{attempt}.safetensors"
        model.save(path)
        saved.add(path.read_bytes())
    assert len(saved) == 1
    with safe_open(path, framework="pt") as file:
        assert sorted(file.metadata()) == ["avts_config", "decoded_clips"]
