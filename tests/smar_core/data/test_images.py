import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from smar_core.data import images
from smar_core.data.images import PictureError, fetch_picture, letterbox


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(content: bytes, width: int, height: int) -> np.ndarray:
    return np.frombuffer(letterbox(content, width, height), np.uint8).reshape(height, width, 3)


def test_a_wide_picture_is_centred_between_white_bars() -> None:
    framed = pixels(encode(Image.new("RGB", (40, 20), (255, 0, 0))), 8, 8)
    assert (framed[:2] == 255).all() and (framed[6:] == 255).all()
    assert (framed[2:6] == (255, 0, 0)).all()


def test_a_small_picture_is_enlarged() -> None:
    framed = pixels(encode(Image.new("RGB", (1, 2), (0, 0, 255))), 4, 4)
    assert (framed[:, 1:3] == (0, 0, 255)).all()
    assert (framed[:, 0] == 255).all() and (framed[:, 3] == 255).all()


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "RGBA", "LA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert pixels(encode(Image.new("RGB", (8, 8), "white").convert(mode), kind), 8, 8).min() >= 254


def test_sixteen_bits_become_eight() -> None:
    """All above 255 was cut off, so that nearly every such picture was white."""
    ramp = Image.fromarray(np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16))
    assert ramp.mode == "I;16"
    framed = pixels(encode(ramp), 8, 8)[..., 0]
    assert np.abs(framed.ravel() - np.linspace(0, 255, 64)).max() <= 2
    with pytest.raises(PictureError, match="no known range"):
        letterbox(encode(Image.new("F", (8, 8)), "TIFF"), 8, 8)


def test_transparency_becomes_white() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.paste((0, 255, 0, 255), (0, 0, 4, 2))
    framed = pixels(encode(image), 4, 4)
    assert (framed[0] == (0, 255, 0)).all() and (framed[3] == 255).all()


def test_the_cameras_rotation_is_undone() -> None:
    image = Image.new("RGB", (16, 8), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    framed = pixels(encode(image, "JPEG", exif=exif, quality=95), 8, 16)
    assert (abs(framed.astype(int) - (254, 0, 0)) < 4).all()


def test_a_large_jpeg_looks_as_if_fully_decoded() -> None:
    shades = np.add.outer(np.arange(512), np.arange(512)) % 512 // 2
    image = Image.fromarray(np.repeat(shades[..., None], 3, axis=2).astype(np.uint8))
    reduced = pixels(encode(image, "JPEG", quality=95), 16, 16).astype(int)
    whole = pixels(encode(image, "PNG"), 16, 16).astype(int)
    assert abs(reduced - whole).mean() < 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no picture of a known format"),
        (b"hello", "no picture of a known format"),
        (encode(Image.new("RGB", (64, 64)), "JPEG")[:400], "does not decode"),
        (encode(Image.new("RGB", (64, 64)))[:60], "does not decode"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture of a known format"),
    ],
)
def test_what_does_not_decode_is_said_in_the_same_words_each_time(content: bytes, words: str) -> None:
    messages = set()
    for _ in range(2):
        with pytest.raises(PictureError, match=words) as caught:
            letterbox(content, 8, 8)
        messages.add(str(caught.value))
    assert len(messages) == 1


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(PictureError, match="20 x 20 pixels, more than 100"):
        letterbox(encode(Image.new("RGB", (20, 20))), 8, 8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(PictureError, match="DecompressionBombError"):
        letterbox(encode(Image.new("RGB", (20, 20))), 8, 8)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_never_crash(data: st.DataObject) -> None:
    content = bytearray(
        encode(Image.new("RGB", (9, 7), "red"), data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP"])))
    )
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert len(letterbox(bytes(content), 4, 4)) == 48
    except PictureError as error:
        assert "0x" not in str(error)


def test_the_folder_may_be_a_uri_and_names_below_it_are_plain(tmp_path: Path) -> None:
    folder = tmp_path / "all pictures"
    folder.mkdir()
    (folder / "1%20a.jpg").write_bytes(b"one")
    assert fetch_picture("1%20a.jpg", folder.as_uri()) == fetch_picture("1%20a.jpg", str(folder)) == b"one"


def test_references_are_read_below_their_folder(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    (tmp_path / "pictures" / "a" / "1.jpg").write_bytes(b"one")
    (tmp_path / "secret").write_bytes(b"two")
    root = str(tmp_path / "pictures")
    assert fetch_picture(" a/./1.jpg ", root) == b"one"
    assert fetch_picture(str(tmp_path / "secret"), None) == b"two"
    for reference in ("../secret", "a/../../secret"):
        with pytest.raises(PictureError, match="outside"):
            fetch_picture(reference, root)
    for reference in ("missing.jpg", "nosuchscheme://bucket/1.jpg", "a"):
        with pytest.raises(PictureError, match="cannot be read"):
            fetch_picture(reference, root)
