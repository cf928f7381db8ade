import numpy as np
import pytest
import torch

from avts_ext.data import MediaReader
from avts_ext.evaluation.recordings import Recording, read_whole
from avts_ext.localization import hear
from avts_ext.localization.geometry import CellGrid, spectrogram_grid
from avts_ext.localization.hearing import _mean_of_overlaps
from avts_ext.models.audio import AUDIO_TOWERS
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.shipped import WORLD_MODEL
from avts_ext.world import generate, load_truth


def test_grid_by_hand():
    # conv1: stride 2, 2; conv2: 1, 2; pool2 looks at two cells of 2 bands and of 4 frames.
    small = AUDIO_TOWERS["vgg_small"]()
    assert spectrogram_grid(small, "conv2") == CellGrid((2, 4), (0, 0))
    assert spectrogram_grid(small, "conv3") == CellGrid((4, 8), (1, 2))
    assert spectrogram_grid(small, "conv5") == CellGrid((8, 8), (3, 2))
    with pytest.raises(ValueError, match="layer9"):
        spectrogram_grid(small, "layer9")


def test_overlapping_parts_are_averaged():
    parts = torch.tensor([[[1.0, 2, 3]], [[5, 6, 7]]])
    assert _mean_of_overlaps(parts, [0, 2], 6).tolist() == [[1, 2, 4, 6, 7, 0]]
    assert _mean_of_overlaps(parts, [0, 2], 4).tolist() == [[1, 2, 4, 6]]


def test_shapes_and_batches():
    model = AVTS(AVTSConfig()).eval()
    frames = torch.randint(0, 256, (20, 64, 64, 3), dtype=torch.uint8)
    waveform = torch.randn(40000) / 10
    found = hear(model, frames, waveform)
    assert found.map.shape == found.log_mel.shape == (40, 250)
    assert found.times_s[:3].tolist() == pytest.approx([0, 0.01, 0.02])
    assert (found.map >= 0).all() and found.map.max() > 0
    again = hear(model, frames, waveform, batch_size=3)
    torch.testing.assert_close(found.map, again.map, rtol=1e-3, atol=1e-5)
    assert hear(model, frames, waveform, layer="conv1").map.shape == (40, 250)


def test_events_that_are_seen_are_heard(tmp_path):
    world = generate(tmp_path / "w", 8, seed=4321, progress=False)
    model, ratios = AVTS.load(WORLD_MODEL), []
    for row in load_truth(world):
        with MediaReader(row.path) as reader:
            frames, waveform = read_whole(Recording(reader, 0.0, 6.0), model.config.clip)
        found = hear(model, frames, waveform)
        loud, times_s = found.map.sum(0).numpy(), found.times_s.numpy()
        since_s = times_s[:, None] - row.event_times_s
        near = ((since_s > -0.05) & (since_s < 0.2)).any(1)
        ratios.append(loud[near].mean() / loud[~near].mean())
    assert np.median(ratios) > 1.3
