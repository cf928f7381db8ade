import pytest

from avts_ext.data import fingerprint
from avts_ext.data.fingerprint import clips_hash, decode_fingerprint, decoder_changes
from avts_ext.data.media import MediaReader


@pytest.fixture
def anew():
    """Forget the fingerprint before and after a test."""
    fingerprint._fingerprint.cache_clear()
    yield
    fingerprint._fingerprint.cache_clear()


def test_it_names_the_backend_its_versions_and_the_clips():
    found = decode_fingerprint()
    assert found["backend"].startswith("PyAV ")
    assert found["libavcodec"].count(".") == 2
    assert len(found["h264_aac.mp4"]) == len(found["vp8_opus.webm"]) == len(clips_hash()) == 16
    assert found["h264_aac.mp4"] != found["vp8_opus.webm"]


def test_it_is_the_same_every_time(anew):
    first = decode_fingerprint()
    fingerprint._fingerprint.cache_clear()
    assert decode_fingerprint() == first
    assert decoder_changes(first, decode_fingerprint()) == ""


@pytest.mark.parametrize("what", ["picture", "samples"])
def test_one_level_of_one_pixel_or_sample_shows(anew, monkeypatch, what):
    before, digest = decode_fingerprint(), clips_hash()
    original = getattr(MediaReader, what)

    def altered(self, *args):
        found = original(self, *args)
        if what == "picture":
            found = found.copy()
            found[0, 0, 0] ^= 1
        else:
            found[0][7] += 2.0**-14
        return found

    monkeypatch.setattr(MediaReader, what, altered)
    fingerprint._fingerprint.cache_clear()
    message = decoder_changes(before, decode_fingerprint())
    assert message.startswith("the decoder gives other pictures or sound than before")
    assert "h264_aac.mp4" in message and "vp8_opus.webm" in message
    assert clips_hash() != digest


def test_a_new_version_with_the_same_output_is_told_as_that():
    before = decode_fingerprint() | {"libavcodec": "1.2.3"}
    message = decoder_changes(before, decode_fingerprint())
    assert message.startswith("the decoder changed, but decodes the known clips as before")
    assert "libavcodec 1.2.3 is now" in message
