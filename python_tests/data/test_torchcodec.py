"""Torchcodec behind the same interface, where it is installed: the same clock."""

import numpy as np
import pytest
import torch
from clock_matrix import distances_s, pairwise_cases
from flash_beep import FlashBeep

from avts_ext.data import ClipSpec, Fault, MediaError, MediaReader

try:
    from avts_ext.data.torchcodec_reader import TorchcodecReader
except (ImportError, RuntimeError) as error:  # RuntimeError: it finds no FFmpeg
    pytest.skip(f"no torchcodec: {error}", allow_module_level=True)

SPEC = ClipSpec(n_frames=8, fps=8, height=24, width=32)


@pytest.mark.parametrize("case", pairwise_cases(), ids=lambda case: str(case).replace(" ", "-"))
def test_beep_comes_with_the_flash_or_the_file_is_refused(case, tmp_path):
    sound_before_zero = case.edit_list != "none" or case.audio.endswith("early")
    may_refuse = sound_before_zero if case.container == "mp4" else case.b_frames > 0
    may_refuse &= case.container in ("mp4", "ts")
    try:
        distances = np.abs(distances_s(case, tmp_path, reader=TorchcodecReader))
    except MediaError as error:
        assert may_refuse
        assert "torchcodec" in error.message
        return
    assert len(distances) >= 3
    assert distances.max() <= case.tolerance_s


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_clips_are_those_of_the_other_decoder(tmp_path, suffix):
    path = FlashBeep(frame_steps=(1, 2, 1)).write(tmp_path / f"film{suffix}")
    with MediaReader(path) as ours, TorchcodecReader(path) as other:
        for start_s in (0.5, 3.3, 1.7):
            expected, found = ours.read_clip(start_s, SPEC), other.read_clip(start_s, SPEC)
            assert torch.equal(expected.frame_times_s, found.frame_times_s)
            assert torch.equal(expected.frame_ends_s, found.frame_ends_s)
            assert (expected.frames.int() - found.frames.int()).abs().max() <= 4
            assert (expected.waveform - found.waveform).abs().max() < 2e-3
        late = [reader.read_clip(5.5, SPEC, "silence") for reader in (ours, other)]
        assert late[0].n_filled_samples == late[1].n_filled_samples > 0


def test_errors_are_those_of_the_interface(tmp_path):
    path = FlashBeep(duration_s=2.0).write(tmp_path / "film.mp4")
    with TorchcodecReader(path) as reader, pytest.raises(MediaError) as caught:
        reader.read_clip(5.0, SPEC)
    assert caught.value.fault is Fault.OUT_OF_RANGE
