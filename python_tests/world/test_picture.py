"""The rendered picture shows what the truth says, where and when it says so."""

import colorsys

import numpy as np
import pytest

from avts_ext.world.actors import draw_actors, event_excitement
from avts_ext.world.picture import SHAPES, paint, render_picture
from avts_ext.world.scene import (
    CLASSES,
    DUET_SEPARATION_S,
    DURATION_S,
    FPS,
    N_FRAMES,
    SIZE_PX,
    Concern,
    draw_scene,
)

ALL_CLASSES = range(len(CLASSES))


def painted_alone(actor):
    """(F, 64, 64) bool: pixels that an actor changes on a black ground, and its boxes."""
    black = np.zeros((N_FRAMES, SIZE_PX, SIZE_PX, 3), np.float32)
    boxes = paint(black, actor, np.zeros((N_FRAMES, 2), np.int64))
    return black.max(axis=-1) > 0, boxes


def test_classes_differ_in_pairs_of_columns():
    assert len(SHAPES) == len(CLASSES) == len({spec.shape for spec in CLASSES})
    assert len({spec.timbre for spec in CLASSES}) == len(CLASSES)
    assert len({(spec.hue, spec.striped) for spec in CLASSES}) == len(CLASSES)
    assert len({(spec.hue, spec.motion) for spec in CLASSES}) == len(CLASSES)


def test_label_is_index_modulo_ten_and_the_silent_object_is_of_another_class():
    scenes = [draw_scene(0, index) for index in range(200)]
    assert [scene.label for scene in scenes] == [index % 10 for index in range(200)]
    assert all(scene.silent_label != scene.label for scene in scenes)
    assert len({scene.silent_label for scene in scenes}) == 10


def test_hue_is_shared_by_two_classes_and_follows_nothing_else():
    hues = np.empty((len(CLASSES), 40))
    for index in range(hues.size):
        look = draw_actors(draw_scene(6, index))[0].look
        hues[index % 10, index // 10] = colorsys.rgb_to_hsv(*look.bright_rgb)[0]
    meant = np.array([spec.hue for spec in CLASSES])
    error = (hues - meant[:, None] + 0.5) % 1 - 0.5
    # Normal with a standard deviation of 0.04: means of 40 lie within 4 standard errors.
    assert np.abs(error.mean(axis=1)).max() < 4 * 0.04 / np.sqrt(40)
    assert 0.035 < error.std() < 0.045
    assert np.array_equal(meant[:5], meant[5:]) and len(set(meant)) == 5


def test_event_times_follow_the_recipe():
    for index in range(50):
        times_s = draw_scene(3, index).event_times_s
        assert 0.05 <= times_s[0] <= 0.8 and times_s[-1] < DURATION_S
        assert np.all((np.diff(times_s) >= 0.5) & (np.diff(times_s) <= 1.2))


def test_concerns_draw_independently():
    scene = draw_scene(0, 0)
    assert scene.rng(Concern.VOICE).random() == scene.rng(Concern.VOICE).random()
    draws = {scene.rng(concern).random() for concern in Concern}
    assert len(draws) == len(Concern)
    assert draw_scene(0, 1).rng(Concern.VOICE).random() not in draws
    assert draw_scene(1, 0).rng(Concern.VOICE).random() not in draws


@pytest.mark.parametrize("position", [0.0, 0.01, 0.5, 0.99])
def test_event_is_first_visible_in_the_frame_whose_interval_contains_it(position):
    event_s = (20 + position) / FPS
    excitement = event_excitement(np.array([event_s]))
    assert np.flatnonzero(excitement)[0] == 20 == int(event_s * FPS)
    assert np.all(np.diff(excitement[20:]) < 0)


@pytest.mark.parametrize("index", ALL_CLASSES)
def test_every_class_changes_visibly_at_its_events(index):
    scene = draw_scene(5, index)
    whiteness = draw_actors(scene)[0].track.whiteness
    for time_s in scene.event_times_s:
        frame = int(time_s * FPS)
        assert whiteness[frame] > 0.25
        assert frame == 0 or whiteness[frame] > whiteness[frame - 1] + 0.2


@pytest.mark.parametrize("index", ALL_CLASSES)
def test_box_encloses_exactly_what_is_painted(index):
    for actor in draw_actors(draw_scene(11, index)):
        pixels, boxes = painted_alone(actor)
        for mask, box in zip(pixels, boxes, strict=True):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            extent = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            # The soft rim, covered by less than half, lies outside.
            grown = np.array(extent) - box
            assert np.all(grown[:2] <= 0) and np.all(grown[2:] >= 0)
            assert np.abs(grown).max() <= 3


def test_box_of_an_actor_outside_the_picture_is_zero():
    actor = draw_actors(draw_scene(0, 0))[0]
    camera = np.full((N_FRAMES, 2), 200)
    camera[1:] = 0
    boxes = paint(np.zeros((N_FRAMES, SIZE_PX, SIZE_PX, 3), np.float32), actor, camera)
    assert not boxes[0].any() and np.all(boxes[1:, 2:] > boxes[1:, :2])


def test_boxes_stay_in_the_picture():
    for index in range(20):
        frames, *both = render_picture(draw_scene(2, index))
        assert frames.shape == (N_FRAMES, SIZE_PX, SIZE_PX, 3) and frames.dtype == np.uint8
        for boxes in both:
            assert boxes.shape == (N_FRAMES, 4) and boxes.dtype == np.float32
            assert boxes.min() >= 0 and boxes.max() <= SIZE_PX
            assert np.all(boxes[:, 2:] > boxes[:, :2])


def test_silent_object_of_a_solo_shows_no_event():
    for index in range(20):
        track = draw_actors(draw_scene(4, index))[1].track
        assert not track.whiteness.any()
        assert np.abs(np.diff(track.x_px)).max() < 3.5 and np.abs(np.diff(track.scale)).max() < 0.05


def test_both_objects_of_a_duet_show_events_at_different_times():
    for index in range(20):
        scene = draw_scene(4, index, "duet")
        apart_s = np.abs(scene.event_times_s[:, None] - scene.silent_event_times_s)
        assert apart_s.min() >= DUET_SEPARATION_S
        silent = draw_actors(scene)[1].track
        frames = (scene.silent_event_times_s * FPS).astype(int)
        assert np.all(silent.whiteness[frames] > 0.25)
