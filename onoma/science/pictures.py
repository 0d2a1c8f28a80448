"""Pictures: file bytes to pixels, and pixels to what a network sees."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, PpmImagePlugin, TiffImagePlugin, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
MAX_PIXELS = 64_000_000

Pixels = npt.NDArray[np.uint8]
"""A picture, (height, width, channels)."""

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_NOTES = {
    "1": "black and white made grey",
    "P": "palette made RGB",
    "PA": "palette made RGB",
    "CMYK": "CMYK made RGB",
    "YCbCr": "YCbCr made RGB",
    "HSV": "HSV made RGB",
}
_MADE_WHITE = "transparent places made white"
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MEDIA_TYPES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)
_SIGNATURES = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"8BPS", "a Photoshop document"),
)


class BrokenPicture(ValueError):
    """These bytes cannot be taken as one still picture; the message is the reason."""


@dataclass(frozen=True)
class Picture:
    """One still picture, upright.

    Attributes:
        pixels: uint8 (height, width, 3) RGB or (height, width, 1) grey.
        notes: what was changed on the way from the file, in words; empty for plain files.
    """

    pixels: Pixels
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes a network's input (Preprocessing in types.proto).

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        height: rows of the input in pixels.
        width: columns of the input in pixels.
        resize_shorter_side: length in pixels of the shorter side before the centre crop; 0 stretches instead.
        mean: subtracted per channel, in units of [0, 1]; empty for none.
        std: divided by per channel, in units of [0, 1]; empty for none.
        interpolation: "bilinear" or "bicubic".

    Raises:
        ValueError: a value no picture can be made to fit.
    """

    channels: int
    height: int
    width: int
    resize_shorter_side: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "resize_shorter_side"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"preprocessing {name} {getattr(self, name)!r}: a whole number is needed")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, Sequence) or not all(
                isinstance(value, int | float) for value in values
            ):
                raise ValueError(f"preprocessing {name} {values!r}: a list of numbers is needed")
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if self.channels not in (1, 3):
            raise ValueError(f"preprocessing channels {self.channels}: use 1 (grey) or 3 (RGB)")
        if min(self.height, self.width) < 1:
            raise ValueError(f"preprocessing size {self.height} x {self.width}: at least 1 x 1 is needed")
        if self.resize_shorter_side and self.resize_shorter_side < max(self.height, self.width):
            raise ValueError(
                f"preprocessing resize_shorter_side {self.resize_shorter_side} is below the crop of "
                f"{self.height} x {self.width}: use at least {max(self.height, self.width)}, or 0 to stretch"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, self.channels):
                raise ValueError(f"preprocessing {name} has {len(values)} values, not {self.channels}")
            if not np.all(np.isfinite(values)):
                raise ValueError(f"preprocessing {name} {values} is not finite")
        if any(value <= 0 for value in self.std):
            raise ValueError(f"preprocessing std {self.std}: every value must be above 0")
        if self.interpolation not in _RESAMPLING:
            raise ValueError(f"interpolation {self.interpolation!r}: use one of {', '.join(_RESAMPLING)}")


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The one still picture in a file; its content decides what it is, never its name.

    Args:
        data: the file's bytes (JPEG, PNG, GIF, WebP, BMP, TIFF or PPM).
        max_pixels: most pixels that the file may declare; looked at before anything is unpacked.
    Raises:
        BrokenPicture: empty, truncated, damaged, animated, too large, or no picture of these formats.
    """
    if not data:
        raise BrokenPicture("empty file")
    # Pillow has a limit of its own, one for the process. It stays: GIF's reader takes memory as it opens a file.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _refuse_unless_one_still(image, max_pixels)
            return _upright(image, data)
    except BrokenPicture:
        raise
    except UnidentifiedImageError:
        raise BrokenPicture(f"{_what_else(data)}; taken are {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BrokenPicture(f"declares far more pixels than the limit, {max_pixels:,}") from error
    except Exception as error:  # Pillow's readers raise nearly everything on damaged files
        raise BrokenPicture(f"damaged or truncated: {error or type(error).__name__}") from error


def media_type(data: bytes) -> str:
    """Media type of a picture that `decode` takes, by its first bytes."""
    return _signed_type(data) or "image/x-portable-anymap"


def _signed_type(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((name for signature, name in _MEDIA_TYPES if data.startswith(signature)), "")


def _refuse_unless_one_still(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise BrokenPicture(f"declares {width * height:,} pixels ({width} x {height}), limit {max_pixels:,}")
    if not getattr(image, "is_animated", False) or image.format == "MPO":
        return
    count = getattr(image, "n_frames", 1)
    kind, unit = (
        (f"{count} pages", "page") if image.format == "TIFF" else (f"animated, {count} frames", "frame")
    )
    raise BrokenPicture(f"{kind}; a classifier sees one still picture: export the {unit} you mean")


def _upright(image: Image.Image, data: bytes) -> Picture:
    notes: list[str] = []
    if image.format == "MPO":
        notes.append("several pictures in one JPEG, the first taken")
    bits = _bits_a_channel(image, data)
    if bits > 8:
        notes.append(f"{bits} bits a channel made 8")
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    image.load()
    eight_bit = _eight_bit(image, bits, notes)
    if orientation in _TRANSPOSITIONS:
        if image.format != "TIFF":  # those are upright once they are loaded
            eight_bit = eight_bit.transpose(_TRANSPOSITIONS[orientation])
        notes.append(f"turned upright, EXIF orientation {orientation}")
    pixels = np.asarray(eight_bit)
    return Picture(pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis], tuple(notes))


def _bits_a_channel(image: Image.Image, data: bytes) -> int:
    """What the file has, before it is loaded; at least 8."""
    if image.format == "PNG":
        return max(8, data[24])
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits: tuple[int, ...] = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
        return max(8, *bits)
    if isinstance(image, PpmImagePlugin.PpmImageFile):
        settings = image.tile[0].args
        white = settings[1] if isinstance(settings, tuple) else 255
        return 16 if image.mode == "I" or white > 255 else 8
    return 8


def _eight_bit(image: Image.Image, bits: int, notes: list[str]) -> Image.Image:
    """`image` as "L" or "RGB"; what was done about it is added to `notes`."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        return _eight_bit_grey(image, bits, notes)
    if mode in ("I", "F", "LAB"):
        raise BrokenPicture(f"pixels of mode {mode} have no agreed white: save it as 8-bit RGB")
    if mode in _NOTES:
        notes.append(_NOTES[mode])
    target = "L" if mode in ("1", "L", "LA", "La") else "RGB"
    transparent = image.info.get("transparency")
    if bits == 16 and isinstance(transparent, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in transparent)  # as Pillow keeps the pixels
    if image.has_transparency_data:
        layered = image if mode == "RGBA" else image.convert("RGBA")
        if layered.getchannel("A").getextrema() != (255, 255):
            notes.append(_MADE_WHITE)
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, layered).convert(target)
    return image if mode == target else image.convert(target)


def _eight_bit_grey(image: Image.Image, bits: int, notes: list[str]) -> Image.Image:
    """Grey of more than 8 bits as "L": white stays white."""
    values = np.asarray(image, np.float32)
    white = 2.0**bits - 1
    grey = np.rint(values.clip(0, white) / np.float32(white / 255)).astype(np.uint8)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_white_zero(image):
        grey = 255 - grey
    is_transparent = values == image.info.get("transparency", -1)
    if is_transparent.any():
        notes.append(_MADE_WHITE)
        grey[is_transparent] = 255
    return Image.fromarray(grey)


def _is_white_zero(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Whether 0 is white, which Pillow sees to in grey of 8 bits alone; a file that says nothing it takes for such."""
    return not image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0)


def _what_else(data: bytes) -> str:
    if begins_like := _signed_type(data):
        return f"begins like {begins_like} but its header is damaged or truncated"
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return f"{name}, not a picture"
    if data[4:8] == b"ftyp":
        return "HEIC, AVIF or video, which is not read: save it as JPEG or PNG"
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        return "SVG, a drawing and not pixels: export it as PNG"
    if head.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not a picture"
    if not data[:1024].strip(b"\0"):
        return "begins with zero bytes only, not a picture"
    try:
        data[:1024].decode("ascii")
    except UnicodeDecodeError:
        return "not a picture"
    return "text, not a picture"


def model_input(picture: Picture, preprocessing: Preprocessing) -> Pixels:
    """The picture as the network sees it, before mean and std.

    Resizing and cropping follow torchvision's Resize and CenterCrop on Pillow images, to a rounding: Pillow resamples
    rows before columns or after, whichever is cheaper, and of a box of a portrait it is often the other way than of
    the whole. On smooth pictures values differ by 1 of 255 at most (bilinear) or 2 (bicubic), on noise by more.

    Returns:
        uint8 (height, width, channels).
    """
    pixels = picture.pixels
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image = image.convert("L" if preprocessing.channels == 1 else "RGB")
    height, width = preprocessing.height, preprocessing.width
    left, top, right, bottom = box_seen(image.size, preprocessing)
    if (left, top, right, bottom) != (0, 0, width, height) or image.size != (width, height):
        resampling = _RESAMPLING[preprocessing.interpolation]
        image = image.resize((width, height), resampling, box=(left, top, right, bottom))
    return np.asarray(image).reshape(height, width, preprocessing.channels)


def box_seen(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what the network sees, in pixels of the picture.

    Resampling this box is resizing the whole and cropping it, without the part thrown away: a strip of
    1 x 60,000 pixels stays cheap.
    """
    shorter, crop = preprocessing.resize_shorter_side, (preprocessing.width, preprocessing.height)
    if not shorter:
        return 0, 0, *size
    whole = tuple(shorter if side == min(size) else int(shorter * side / min(size)) for side in size)
    start = [round((whole_side - crop_side) / 2) for whole_side, crop_side in zip(whole, crop, strict=True)]
    scale = [side / whole_side for side, whole_side in zip(size, whole, strict=True)]
    end = [min((start[i] + crop[i]) * scale[i], size[i]) for i in (0, 1)]
    return start[0] * scale[0], start[1] * scale[1], end[0], end[1]


def normalise(batch: Pixels, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """The network's input tensor: values in [0, 1], then (value - mean) / std.

    Args:
        batch: uint8 (n, height, width, channels) of `model_input` pictures.
    Returns:
        float32 (n, channels, height, width), contiguous.
    """
    mean = np.asarray(preprocessing.mean or (0.0,) * preprocessing.channels, np.float32)
    std = np.asarray(preprocessing.std or (1.0,) * preprocessing.channels, np.float32)
    nchw = batch.transpose(0, 3, 1, 2)
    return np.ascontiguousarray((nchw * np.float32(1 / 255) - mean[:, None, None]) / std[:, None, None])


def encode_png(pixels: Pixels, *, compress_level: int = 6) -> bytes:
    """PNG bytes of uint8 (height, width, 3) RGB or (height, width, 1) grey pixels.

    Args:
        compress_level: zlib's 0 to 9; at 0 every zlib gives the same bytes, so that their hash can be an id.
    """
    file = io.BytesIO()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.save(file, "PNG", compress_level=compress_level)
    return file.getvalue()
