"""Pictures that come in: what is one is encoded anew, small and bare; all else is refused."""

import asyncio
import os
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from xmpprelay import pictures
from xmpprelay.core.profile import Picture
from xmpprelay.errors import TryLater
from xmpprelay.pictures import (
    MOST_BYTES,
    SIDE,
    WAITING,
    NotAPicture,
    Pictures,
    PictureTooBig,
    encoded,
)

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
RED, BLUE = (255, 0, 0), (0, 0, 255)


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opened(picture: Picture) -> Image.Image:
    image = Image.open(BytesIO(picture.data), formats=["PNG"])
    image.load()
    return image


def halves(width: int = 60, height: int = 40) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def is_near(colour: Any, wanted: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 40 for one, other in zip(colour[:3], wanted, strict=True))


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_becomes_a_png(kind: str) -> None:
    picture = encoded(file_of(halves(), kind))
    assert (picture.width, picture.height) == (60, 40) == opened(picture).size
    assert is_near(opened(picture).getpixel((5, 5)), RED)
    assert is_near(opened(picture).getpixel((55, 35)), BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_each_way_to_store_colours_is_read(mode: str) -> None:
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    image = Image.new("I;16", (20, 20)) if mode == "I;16" else halves(20, 20).convert(mode)
    assert opened(encoded(file_of(image, kind))).mode in ("RGB", "RGBA")


def test_transparency_stays() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    for kind in ("PNG", "GIF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        pixel = opened(encoded(file_of(image, kind, **options))).getpixel((4, 4))
        assert isinstance(pixel, tuple)
        assert pixel[3] == 0, kind


@pytest.mark.parametrize(
    ("size", "expected"),
    [((512, 256), (256, 128)), ((1, 4000), (1, 256)), ((4000, 1), (256, 1)), ((256, 256),) * 2],
)
def test_it_is_scaled_down_and_keeps_its_shape(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    picture = encoded(file_of(Image.new("RGB", size), "PNG"))
    assert (picture.width, picture.height) == expected


def test_what_would_have_too_many_bytes_gets_smaller() -> None:
    noise = Image.frombytes("RGB", (200, 200), os.urandom(200 * 200 * 3))
    data = file_of(noise, "JPEG", quality=85)
    assert len(data) < MOST_BYTES < len(file_of(noise, "PNG"))
    picture = encoded(data)
    assert len(picture.data) <= MOST_BYTES
    assert 100 < picture.width == picture.height < SIDE


# Nothing but the picture


def test_the_place_where_it_was_taken_is_gone_and_it_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it
    exif[0x010F] = "a telephone"
    exif.get_ifd(0x8825)[1] = "N"
    data = file_of(halves(), "JPEG", exif=exif, comment=b"secret words", quality=95)
    assert b"telephone" in data
    picture = encoded(data)
    assert (picture.width, picture.height) == (40, 60)
    assert is_near(opened(picture).getpixel((5, 5)), RED)
    assert is_near(opened(picture).getpixel((5, 55)), BLUE)
    assert not opened(picture).getexif()


def test_texts_and_profiles_are_gone() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "secret words")
    data = file_of(halves(), "PNG", pnginfo=texts, icc_profile=b"a profile", dpi=(72, 72))
    assert b"secret words" in data
    assert chunks(encoded(data).data) == {b"IHDR", b"IDAT", b"IEND"}


def chunks(png: bytes) -> set[bytes]:
    return {kind for kind, _ in _chunks(png)}


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += 12 + size


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("tail", [b"PK\x03\x04 a zip", b"<script>alert(1)</script>", b"%PDF-1.7"])
def test_what_is_behind_a_picture_is_left_behind(kind: str, tail: bytes) -> None:
    assert tail not in encoded(file_of(halves(), kind) + tail).data


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")  # as pictures.py has it
def test_broken_exif_is_no_reason_to_refuse() -> None:
    picture = encoded(file_of(halves(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    assert (picture.width, picture.height) == (60, 40)


@pytest.mark.filterwarnings("ignore::UserWarning")  # as pictures.py has it for Pillow's
def test_whatever_byte_of_exif_is_wrong_the_picture_is_taken() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a telephone"
    exif.get_ifd(0x8825)[1] = "N"
    good = exif.tobytes()
    for at in range(6, len(good)):
        for value in (0, 1, 2, 5, 12, 255):
            wrong = good[:at] + bytes([value]) + good[at + 1 :]
            picture = encoded(file_of(halves(), "JPEG", exif=wrong))
            assert {picture.width, picture.height} == {60, 40}, wrong


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animated_one_it_is_the_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (10, 10), RED), Image.new("RGB", (10, 10), BLUE)]
    data = file_of(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    picture = encoded(data)
    assert is_near(opened(picture).convert("RGB").getpixel((5, 5)), RED)
    assert getattr(opened(picture), "n_frames", 1) == 1


# What is none


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"\xff\xd8\xff\xe0",
        b"RIFF\0\0\0\0WEBP",
        b"BM" + bytes(60),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(NotAPicture, match="PNG, JPEG, GIF or WebP"):
        encoded(data)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO", "TGA"])
def test_other_formats_are_not_even_tried(kind: str) -> None:
    with pytest.raises(NotAPicture):
        encoded(file_of(halves(), kind))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_one_is_refused(kind: str) -> None:
    noise = Image.frombytes("RGB", (60, 60), os.urandom(60 * 60 * 3))
    data = file_of(noise, kind)
    for part in (0.1, 0.5, 0.9):
        with pytest.raises(NotAPicture):
            encoded(data[: int(len(data) * part)])


def test_too_many_bytes_are_not_looked_at() -> None:
    with pytest.raises(PictureTooBig, match="65,537 bytes") as refused:
        encoded(file_of(halves(), "PNG").ljust(MOST_BYTES + 1, b"\0"))
    assert refused.value.condition == "not-acceptable"


def png_of(width: int, height: int, data: bytes) -> bytes:
    """A PNG that says it has that size, in shades of grey."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


@pytest.mark.parametrize(
    ("width", "height"), [(4001, 4000), (6000, 6000), (65_535, 65_535), (2**31 - 1, 2**31 - 1)]
)
def test_too_many_pixels_are_never_decoded(
    width: int, height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", decoded)
    with pytest.raises(PictureTooBig, match="16 million pixels"):
        encoded(png_of(width, height, zlib.compress(bytes(1000))))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_pixels_count_whatever_is_done_with_warnings() -> None:
    with pytest.raises(PictureTooBig):
        encoded(png_of(4001, 4000, zlib.compress(bytes(4001 * 4000 + 4000))))


def test_a_gif_that_grows_in_its_frame_is_refused() -> None:
    small = bytearray(file_of(Image.new("P", (2, 2)), "GIF"))
    frame = small.index(b"\x2c")
    small[frame + 5 : frame + 9] = struct.pack("<HH", 65_535, 65_535)
    with pytest.raises((PictureTooBig, NotAPicture)):
        encoded(bytes(small))


def test_a_text_that_unpacks_to_a_gigabyte_is_refused_or_left_out() -> None:
    bomb = zlib.compress(bytes(40_000_000), 9)
    assert len(bomb) < MOST_BYTES
    body = b"Comment\0\0" + bomb
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + body))
    good = file_of(halves(), "PNG")
    with pytest.raises(NotAPicture):
        encoded(good[:33] + chunk + good[33:])


HEADS = {
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff",
    "GIF": b"GIF89a",
    "WEBP": b"RIFF\x00\x01\x00\x00WEBPVP8 ",
}


@given(st.binary(max_size=400), st.sampled_from(FORMATS))
def test_whatever_the_bytes_only_two_errors_come_out(noise: bytes, kind: str) -> None:
    heads = {
        "PNG": b"\x89PNG\r\n\x1a\n",
        "JPEG": b"\xff\xd8\xff",
        "GIF": b"GIF89a",
        "WEBP": b"RIFF",
    }
    for data in (noise, heads[kind] + noise):
        try:
            encoded(data)
        except (NotAPicture, PictureTooBig):
            continue


GOOD = {kind: file_of(halves(), kind) for kind in FORMATS}


@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    st.floats(0, 1),
)
@example("PNG", [], 1.0)
def test_a_damaged_picture_is_one_of_ours_or_is_refused(
    kind: str, damage: list[tuple[float, int]], length: float
) -> None:
    data = bytearray(GOOD[kind])
    for place, value in damage:
        data[int(place * len(data))] = value
    try:
        picture = encoded(bytes(data[: int(length * len(data))]))
    except (NotAPicture, PictureTooBig):
        return
    assert opened(picture).size == (picture.width, picture.height)
    assert max(opened(picture).size) <= SIDE


# Beside the loop


async def test_one_is_decoded_at_a_time_and_the_loop_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Decoding waits for something that only the loop does: blocked, it would wait for ever."""
    loop, at_once, most = asyncio.get_running_loop(), 0, 0

    def slow(data: bytes) -> Picture:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(30)
        at_once -= 1
        return encoded(data)

    monkeypatch.setattr(pictures, "encoded", slow)
    room = Pictures()
    data = file_of(halves(), "PNG")
    every = [asyncio.ensure_future(room.encoded(data)) for _ in range(WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(TryLater):
        await room.encoded(data)
    assert {(await each).sha1 for each in every} == {encoded(data).sha1}
    assert most == 1
    await room.encoded(data)
    room.close()
