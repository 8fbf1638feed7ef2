"""Pictures: found, decoded and letterboxed once, so that training only maps pixels into memory.

Letterboxing keeps the aspect and pads with white, the usual background of product photographs; transparency becomes white
too. Only the formats of shops are decoded (no PostScript, no vector graphics), and nothing above ``MAX_PIXELS``.
"""

import io
import lzma
import posixpath
import struct
import warnings
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from PIL import Image, ImageOps, UnidentifiedImageError

from smar_core.data.files import open_file
from smar_core.data.filesystems import FILE_ERRORS, is_uri, without_file_scheme

MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_WHITE = (255, 255, 255)
_FETCHED_AHEAD = 16
# What Pillow's decoders raise at broken files; SyntaxError comes from its PNG reader.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class PictureError(ValueError):
    """A picture is not there or does not decode; the message says why, in the same words each time."""


def fetch_picture(reference: str, root: str | None) -> bytes:
    """Read a picture's file.

    Args:
        reference: URI, absolute path, or path below ``root``.
        root: Folder or URI; None if there is none.

    Raises:
        PictureError: It is not there, or lies outside the root.
    """
    path = reference.strip()
    if not is_uri(path) and not path.startswith("/"):
        normal = posixpath.normpath(path)
        if root is None or normal.startswith(".."):
            raise PictureError("its path leads outside the images folder")
        # The root alone may be a URI: the reference is a name as it stands, and "%20" in it is no blank.
        path = f"{without_file_scheme(root).rstrip('/')}/{normal}"
    try:
        with open_file(path) as handle:
            return handle.read()
    except (*FILE_ERRORS, ValueError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise PictureError(f"its file cannot be read ({type(error).__name__})") from None


def fetch_pictures(references: Iterable[str], root: str | None) -> Iterator[bytes | PictureError]:
    """Read pictures' files, some of them ahead, since a store in the network lets each wait for its answer.

    Args:
        references: As for ``fetch_picture``.
        root: Likewise.

    Yields:
        A picture's file, or why there is none, in the order of the references.
    """
    with ThreadPoolExecutor(_FETCHED_AHEAD) as pool:
        ahead: deque[Future[bytes | PictureError]] = deque()
        for reference in references:
            ahead.append(pool.submit(_try_fetch, reference, root))
            if len(ahead) == _FETCHED_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def letterbox(content: bytes, width_px: int, height_px: int) -> bytes:
    """Decode a picture, turn it upright, and fit it into a white frame.

    Args:
        content: The encoded picture.
        width_px: Width of the frame.
        height_px: Height of the frame.

    Returns:
        uint8 RGB pixels, row-major (height_px, width_px, 3).

    Raises:
        PictureError: It does not decode.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; MAX_PIXELS refuses them
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise PictureError(f"it has {image.width} x {image.height} pixels, more than {MAX_PIXELS}")
                return _frame(image, width_px, height_px).tobytes()
    except UnidentifiedImageError:
        raise PictureError("it is no picture of a known format") from None
    except PictureError:
        raise
    except _DECODE_ERRORS as error:
        raise PictureError(f"it does not decode ({type(error).__name__}: {str(error)[:100]})") from None


def _try_fetch(reference: str, root: str | None) -> bytes | PictureError:
    try:
        return fetch_picture(reference, root)
    except PictureError as error:
        return error


def _frame(image: Image.Image, width_px: int, height_px: int) -> Image.Image:
    # A JPEG may be decoded at a half, a quarter or an eighth of its size; twice the frame keeps the resampling sharp. The
    # frame is taken square, because the picture may yet be turned.
    side = 2 * max(width_px, height_px)
    image.draft("RGB", (side, side))
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):  # to 8 bits; Pillow cuts what is above 255 off
        upright = upright.point(lambda value: value / 256, "L")
    elif upright.mode in {"I", "F"}:
        raise PictureError("its numbers have no known range")
    if upright.mode in {"RGBA", "LA", "PA"} or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        upright = Image.new("RGBA", layer.size, (*_WHITE, 255))
        upright.alpha_composite(layer)
    return ImageOps.pad(upright.convert("RGB"), (width_px, height_px), Image.Resampling.LANCZOS, color=_WHITE)
