"""Pictures here are synthetic: gradients and noise made by numpy."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onoma.science.pictures import (
    BrokenPicture,
    Picture,
    Preprocessing,
    decode,
    encode_png,
    media_type,
    model_input,
    normalise,
)


def gradient(height=20, width=30):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 12, columns * 8, np.full_like(rows, 90)], axis=2).astype(np.uint8)


def file_of(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rgb():
    return Image.fromarray(gradient())


def png(width, height, depth, compressed, transparent=b""):
    """An RGB PNG put together by hand: Pillow writes none of 16 bits, and none that declares too much."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", compressed), (b"IEND", b"")]
    if transparent:
        chunks.insert(1, (b"tRNS", transparent))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def grey_tiff(width, bits, photometric, data):
    """A TIFF of one row put together by hand: Pillow writes none of 12 bits, and none of 16 in which 0 is white."""
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 0, 277: 1, 278: 1, 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def test_png_gives_back_its_pixels_without_a_note():
    picture = decode(encode_png(gradient()))
    assert np.array_equal(picture.pixels, gradient())
    assert picture.notes == ()


def test_grey_stays_one_channel():
    grey = gradient()[:, :, :1]
    picture = decode(encode_png(grey))
    assert np.array_equal(picture.pixels, grey)
    assert picture.notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_each_format_is_read_and_its_media_type_known(kind):
    data = file_of(rgb(), kind)
    assert decode(data).pixels.shape == (20, 30, 3)
    assert media_type(data) == {"PPM": "image/x-portable-anymap"}.get(kind, f"image/{kind.lower()}")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation, kind):
    upright = gradient()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(file_of(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif))
    assert np.array_equal(picture.pixels, upright)
    assert picture.notes == ((f"turned upright, EXIF orientation {orientation}",) if orientation > 1 else ())


def test_unreadable_exif_does_not_cost_the_picture():
    data = file_of(rgb(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 40)
    assert decode(data).pixels.shape == (20, 30, 3)


def test_transparency_becomes_white():
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    picture = decode(file_of(Image.fromarray(pixels), "PNG"))
    assert picture.pixels[0, 0].tolist() == [10, 20, 30]
    assert picture.pixels[3, 3].tolist() == [255, 255, 255]
    assert picture.notes == ("transparent places made white",)


def test_an_alpha_channel_that_hides_nothing_is_no_conversion():
    assert decode(file_of(rgb().convert("RGBA"), "PNG")).notes == ()


def test_grey_with_alpha_stays_grey():
    picture = decode(file_of(Image.new("LA", (3, 2), (0, 0)), "PNG"))
    assert picture.pixels.tolist() == [[[255]] * 3] * 2


def test_palette_becomes_rgb():
    picture = decode(file_of(rgb().quantize(16), "PNG"))
    assert picture.pixels.shape == (20, 30, 3)
    assert picture.notes == ("palette made RGB",)


def test_palette_with_a_transparent_colour_is_laid_on_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 0)
    picture = decode(file_of(image, "PNG", transparency=0))
    assert picture.pixels[0, 0].tolist() == [255, 255, 255]
    assert picture.pixels[1, 1].tolist() == [255, 0, 0]
    assert picture.notes == ("palette made RGB", "transparent places made white")


def test_cmyk_becomes_rgb():
    picture = decode(file_of(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert picture.notes == ("CMYK made RGB",)
    assert np.abs(picture.pixels[4, 4].astype(int) - [255, 0, 0]).max() < 12


def test_black_and_white_becomes_grey():
    picture = decode(file_of(Image.new("1", (5, 4), 1), "PNG"))
    assert picture.pixels.shape == (4, 5, 1)
    assert picture.pixels.max() == 255
    assert picture.notes == ("black and white made grey",)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_so_that_white_stays_white(kind):
    values = np.array([[0, 257 * 100, 65535]], np.uint16)
    picture = decode(file_of(Image.fromarray(values), kind))
    assert picture.pixels.tolist() == [[[0], [100], [255]]]
    assert picture.notes == ("16 bits a channel made 8",)


def test_sixteen_bit_grey_in_which_zero_is_white_is_no_negative():
    data = struct.pack("<3H", 0, 257 * 100, 65535)
    assert decode(grey_tiff(3, 16, 0, data)).pixels.tolist() == [[[255], [155], [0]]]
    assert decode(grey_tiff(3, 16, 1, data)).pixels.tolist() == [[[0], [100], [255]]]


def test_twelve_bit_grey_keeps_its_white():
    picture = decode(grey_tiff(2, 12, 1, bytes([0x80, 0x8F, 0xFF])))
    assert picture.pixels.tolist() == [[[128], [255]]]
    assert picture.notes == ("12 bits a channel made 8",)


def test_a_turned_tiff_of_sixteen_bits_is_upright_with_both_notes():
    values = np.array([[0, 65535, 257 * 100]], np.uint16)
    picture = decode(file_of(Image.fromarray(values), "TIFF", tiffinfo={0x0112: 3}))
    assert picture.pixels.tolist() == [[[100], [255], [0]]]
    assert picture.notes == ("16 bits a channel made 8", "turned upright, EXIF orientation 3")


def test_the_transparent_grey_of_sixteen_bits_becomes_white():
    values = np.array([[0, 1, 257 * 100]], np.uint16)
    picture = decode(file_of(Image.fromarray(values), "PNG", transparency=0))
    assert picture.pixels.tolist() == [[[255], [0], [100]]]
    assert picture.notes == ("16 bits a channel made 8", "transparent places made white")


def test_the_transparent_colour_of_sixteen_bits_becomes_white():
    transparent, other = bytes([200, 1, 100, 2, 50, 3]), bytes([1, 1, 2, 2, 3, 3])
    picture = decode(png(2, 1, 16, zlib.compress(b"\0" + transparent + other), transparent))
    assert picture.pixels.tolist() == [[[255, 255, 255], [1, 2, 3]]]


SIXTEEN_BIT_COLOUR = bytes([200, 200, 100, 100, 50, 50] * 2)


@pytest.mark.parametrize(
    "data",
    [
        png(2, 1, 16, zlib.compress(b"\0" + SIXTEEN_BIT_COLOUR)),
        b"P6 2 1 65535\n" + SIXTEEN_BIT_COLOUR,
        b"P3 2 1 65535\n" + b"51400 25700 12850 " * 2,
    ],
)
def test_sixteen_bit_colour_is_noted(data):
    picture = decode(data)
    assert picture.pixels.tolist() == [[[200, 100, 50]] * 2]
    assert picture.notes == ("16 bits a channel made 8",)


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_pixels_without_an_agreed_white_are_refused(mode):
    with pytest.raises(BrokenPicture, match=f"mode {mode} have no agreed white"):
        decode(file_of(Image.new(mode, (3, 3)), "TIFF"))


def test_one_pixel_is_a_picture():
    assert decode(encode_png(np.full((1, 1, 3), 7, np.uint8))).pixels.tolist() == [[[7, 7, 7]]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_refused_with_their_frame_count(kind):
    frames = [Image.new("RGB", (8, 8), (40 * number, 0, 0)) for number in range(3)]
    data = file_of(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    with pytest.raises(BrokenPicture, match=r"animated, 3 frames; .* export the frame you mean"):
        decode(data)


def test_tiff_of_several_pages_is_refused():
    data = file_of(rgb(), "TIFF", save_all=True, append_images=[rgb()])
    with pytest.raises(BrokenPicture, match=r"2 pages; .* export the page you mean"):
        decode(data)


def test_the_first_picture_of_a_multi_picture_jpeg_is_taken():
    picture = decode(file_of(rgb(), "MPO", save_all=True, append_images=[Image.new("RGB", (5, 5))]))
    assert picture.pixels.shape == (20, 30, 3)
    assert picture.notes == ("several pictures in one JPEG, the first taken",)


def test_an_empty_file_is_refused():
    with pytest.raises(BrokenPicture, match=r"^empty file$"):
        decode(b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(kind, share):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    data = file_of(noise, kind)
    with pytest.raises(BrokenPicture):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("side", [8_100, 50_000])
def test_a_bomb_is_refused_by_what_it_declares(side):
    with pytest.raises(BrokenPicture, match=r"pixels"):
        decode(png(side, side, 8, zlib.compress(b"")))


def test_the_pixel_limit_can_be_set_and_is_named():
    with pytest.raises(BrokenPicture, match=r"declares 600 pixels \(30 x 20\), limit 599"):
        decode(encode_png(gradient()), max_pixels=599)
    assert decode(encode_png(gradient()), max_pixels=600)


def test_a_pixel_limit_above_pillows_own_counts(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # it refuses what has more than twice as many
    assert decode(encode_png(gradient()), max_pixels=600)
    with pytest.raises(BrokenPicture, match=r"far more pixels than the limit, 600$"):
        decode(png(8_100, 8_100, 8, zlib.compress(b"")), max_pixels=600)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"just some words\n" * 9, "text, not a picture"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG, a drawing"),
        (b"<!DOCTYPE html><html><img src=x></html>", "an HTML page"),
        (b"\0" * 2000, "zero bytes only"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"PK\x03\x04 ...", "a zip archive"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC, AVIF or video"),
        (b"\xd3\x90\x11 noise \xfe", "not a picture"),
        (b"\x89PNG\r\n\x1a\n\0\0", "begins like image/png but its header is damaged or truncated"),
    ],
)
def test_other_files_are_refused_by_what_they_are(data, reason):
    with pytest.raises(BrokenPicture, match=reason):
        decode(data)


def test_a_picture_with_a_zip_behind_it_is_the_picture():
    assert decode(encode_png(gradient()) + b"PK\x03\x04 and a page <html>").pixels.shape == (20, 30, 3)


@given(
    st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"]), st.data()
)
def test_damaged_files_are_pictures_or_refused_but_never_another_error(noise, kind, data):
    whole = file_of(rgb(), kind)
    at = data.draw(st.integers(0, len(whole)))
    with contextlib.suppress(BrokenPicture):
        decode(whole[:at] + noise + whole[at + len(noise) :], max_pixels=100_000)


def test_stretching_ignores_the_shape_of_the_picture():
    half = np.zeros((10, 40, 3), np.uint8)
    half[:, 20:] = 200
    seen = model_input(Picture(half), Preprocessing(3, 8, 8))
    assert seen.shape == (8, 8, 3)
    assert seen[0, 0, 0] == 0
    assert seen[0, -1, 0] == 200


def test_resizing_and_cropping_keeps_the_centre():
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = 200
    seen = model_input(Picture(wide), Preprocessing(3, 10, 10, resize_shorter_side=10))
    assert np.all(seen == 200)


def test_a_picture_of_the_right_size_is_left_alone():
    picture = Picture(gradient(28, 28))
    assert np.array_equal(model_input(picture, Preprocessing(3, 28, 28)), picture.pixels)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(300, 224), (97, 431), (256, 256), (30, 20)])
def test_resizing_and_cropping_agrees_with_torchvision(interpolation, size):
    transforms = pytest.importorskip("torchvision.transforms", exc_type=ImportError)
    noise = np.random.default_rng(1).integers(0, 256, (9, 9, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR))
    mode = transforms.InterpolationMode(interpolation)
    theirs = transforms.Compose([transforms.Resize(64, mode), transforms.CenterCrop((56, 48))])
    ours = model_input(Picture(smooth), Preprocessing(3, 56, 48, 64, interpolation=interpolation))
    assert np.abs(np.asarray(theirs(Image.fromarray(smooth))).astype(int) - ours).max() <= 2


def test_a_very_long_strip_is_prepared_without_resizing_all_of_it():
    strip = Picture(np.full((1, 60_000, 3), 9, np.uint8))
    assert np.all(model_input(strip, Preprocessing(3, 224, 224, 256)) == 9)


def test_channels_are_converted_both_ways():
    grey = Picture(np.full((4, 4, 1), 80, np.uint8))
    assert model_input(grey, Preprocessing(3, 4, 4))[0, 0].tolist() == [80, 80, 80]
    red = Picture(np.broadcast_to(np.array([255, 0, 0], np.uint8), (4, 4, 3)).copy())
    assert model_input(red, Preprocessing(1, 4, 4))[0, 0].tolist() == [76]  # ITU-R 601: 0.299 of 255


def test_normalising_subtracts_the_mean_and_divides_by_the_deviation():
    batch = np.zeros((2, 5, 6, 3), np.uint8)
    batch[1, :, :, 2] = 255
    tensor = normalise(batch, Preprocessing(3, 5, 6, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5)))
    assert tensor.shape == (2, 3, 5, 6)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert tensor[0, :, 0, 0].tolist() == [-1, -2, -1]
    assert tensor[1, :, 0, 0].tolist() == [-1, -2, 1]


def test_without_mean_and_std_values_are_in_zero_to_one():
    batch = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1)
    tensor = normalise(batch, Preprocessing(1, 1, 3))
    assert tensor.ravel().tolist() == pytest.approx([0, 0.2, 1])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"channels": 2}, "channels 2"),
        ({"height": 0}, "size 0 x 8"),
        ({"resize_shorter_side": 7}, "below the crop"),
        ({"mean": (0.5,)}, "mean has 1 values, not 3"),
        ({"std": (0.5, 0.0, 0.5)}, "above 0"),
        ({"mean": (0.5, float("nan"), 0.5)}, "not finite"),
        ({"interpolation": "lanczos"}, "interpolation 'lanczos'"),
    ],
)
def test_preprocessing_that_fits_no_picture_is_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        Preprocessing(**{"channels": 3, "height": 8, "width": 8, **fields})


def test_preprocessing_read_from_json_equals_the_one_written():
    assert Preprocessing(1, 28, 28, mean=[0.5], std=[0.25]) == Preprocessing(
        1, 28, 28, mean=(0.5,), std=(0.25,)
    )
