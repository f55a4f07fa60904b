"""Pictures that people send of themselves: looked at, and encoded anew.

Nothing that came in goes out again. What can be decoded as one of four formats is scaled down,
turned as its EXIF data says, and written as a PNG of our own: so there is no metadata in it, no
place where somebody was, and nothing behind the picture that is another file as well. PNG for all,
since that is what every client can show and what XEP-0084 §4.1 asks for; whatever would be too
large as such gets smaller.

Decoding is where a stranger's bytes meet a large library. So the size in bytes is bounded before,
and the pixels before any of them is decoded; it happens in a thread of its own, one picture at a
time, beside the loop and not in its way, and what does not fit into the queue before it is refused.
"""

import asyncio
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Final

from PIL import Image, ImageOps

from xmpprelay.core.profile import Picture
from xmpprelay.errors import BadRequest, RelayError, TryLater

MOST_BYTES: Final = 64 * 1024
"""Of what comes in, and of what goes out."""

MOST_PIXELS: Final = 16_000_000
"""A telephone takes photos of as many. A WebP of so many takes 250 MB for an eighth of a second."""

SIDE: Final = 256
"""Pixels of the longer side: what clients show at most, on a screen with small pixels."""

WAITING: Final = 20
"""Pictures that wait to be decoded; each takes some milliseconds, a bad one half a second."""

_FORMATS: Final = ("PNG", "JPEG", "GIF", "WEBP")
_SMALLER: Final = 0.75

# For all of the process, which decodes nothing else: too many pixels are an error, not a warning,
# and what is odd in somebody's EXIF data is nothing to print.
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.simplefilter("error", Image.DecompressionBombWarning)


class NotAPicture(BadRequest):
    """The bytes are no picture that can be decoded."""


class PictureTooBig(RelayError):
    """The picture has too many bytes or pixels (XEP-0060 §7.1.3.4)."""

    condition = "not-acceptable"
    type = "modify"


def encoded(data: bytes) -> Picture:
    """The picture of ours that is made of these bytes.

    Of an animated one it is the first frame. Raises NotAPicture or PictureTooBig, and nothing else.
    """
    if len(data) > MOST_BYTES:
        raise PictureTooBig(
            f"The picture has {len(data):,} bytes; {MOST_BYTES:,} are the most: make it smaller."
        )
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise _too_many_pixels()
            small = _small(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except RelayError:
        raise
    except Exception as error:  # decoders raise whatever broken bytes make them raise
        raise NotAPicture(
            "That is no picture that can be read here: send a PNG, JPEG, GIF or WebP."
        ) from error
    return _written(small)


def _too_many_pixels() -> PictureTooBig:
    return PictureTooBig(
        f"The picture has more than {MOST_PIXELS // 1_000_000} million pixels: make it smaller."
    )


def _small(image: Image.Image) -> Image.Image:
    """The picture upright, in colours that a PNG has, no larger than `SIDE`, without metadata."""
    image.draft("RGB", (SIDE, SIDE))  # of a JPEG only so much is decoded as is needed
    transparent = image.has_transparency_data
    if image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGBA" if transparent else "RGB")
    image.thumbnail((SIDE, SIDE))
    upright = _upright(image)
    return Image.frombytes(upright.mode, upright.size, upright.tobytes())


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, struct.error, TypeError, ValueError):  # what Pillow raises for broken EXIF
        return image  # it says nothing of how the picture is to be turned


def _written(image: Image.Image) -> Picture:
    while True:
        file = BytesIO()
        image.save(file, "PNG", optimize=True)
        data = file.getvalue()
        if len(data) <= MOST_BYTES:
            return Picture(data, *image.size)
        image = image.resize([max(1, int(side * _SMALLER)) for side in image.size])


class Pictures:
    """Decodes pictures in a thread, one at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "pictures")
        self._waiting = 0

    async def encoded(self, data: bytes) -> Picture:
        """As the function of that name; TryLater if too many wait already."""
        if self._waiting >= WAITING:
            raise TryLater("Too many pictures come in at once. Try again in a minute.")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, encoded, data)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Begin with no more pictures; the one under way is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)
