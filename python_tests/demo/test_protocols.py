import pytest

from avts_ext.demo.protocols import in_plain_words


@pytest.mark.parametrize(
    ("protocol", "group", "name"),
    [
        ("sync-easy/1", "sync", "Sync, other video"),
        ("sync-hard/1", "sync", "Sync, same video"),
        ("sync-super-hard/1", "sync", "Sync, overlapping clips"),
        ("offset-within-125ms/1", "sync", "Offset found"),
        ("audio-probe-20/1", "features", "Kind of sound"),
        ("finetune-10/1", "features", "Kind of object"),
        (
            "boxes-solo, source, event frames/1",
            "place",
            "Map on the heard object · solo, near events",
        ),
        (
            "boxes-duet, silent, all frames/1",
            "place",
            "Map on the silent object · duet, all moments",
        ),
        ("boxes-duet, iou, all frames/2", "place", "Map overlap (IoU) · duet, all moments"),
    ],
)
def test_protocols_of_the_demo_are_known(protocol, group, name):
    plain = in_plain_words(protocol)
    assert (plain.group, plain.full_name) == (group, name) and plain.sentence


def test_an_unknown_protocol_keeps_its_name():
    plain = in_plain_words("a-new-one/1")
    assert (plain.group, plain.full_name, plain.sentence) == ("other", "a-new-one/1", "")
