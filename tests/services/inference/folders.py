"""Data sets on disk for tests, in each format's own form; their pictures are synthetic."""

import gzip
import struct

import numpy as np

from onoma.science.pictures import encode_png


def png(seed=0, height=8, width=6):
    """Bytes of a small picture of noise; another seed gives other bytes."""
    return encode_png(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def image_folder(folder, counts):
    """`counts`: pictures of each folder, as {"train/hat": 3}."""
    seed = 0
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            seed += 1
            (folder / name / f"{number:03d}.png").write_bytes(png(seed))
    return folder


def idx(folder, train_labels, test_labels, zipped=True, height=5, width=4):
    """MNIST-style files; picture i of a part is filled with the value i."""
    folder.mkdir(parents=True)
    for part, labels in (("train", train_labels), ("t10k", test_labels)):
        pixels = np.broadcast_to(
            np.arange(len(labels), dtype=np.uint8)[:, None, None], (len(labels), height, width)
        )
        images = struct.pack(">IIII", 0x0803, len(labels), height, width) + pixels.tobytes()
        write_idx(folder / f"{part}-images-idx3-ubyte", images, zipped)
        write_idx(
            folder / f"{part}-labels-idx1-ubyte",
            struct.pack(">II", 0x0801, len(labels)) + bytes(labels),
            zipped,
        )
    return folder


def write_idx(path, data, zipped):
    if zipped:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))
    else:
        path.write_bytes(data)


CUB_IMAGES = (
    ("001.Black_footed_Albatross", "Black_Footed_Albatross_0046_18.png", 1),
    ("001.Black_footed_Albatross", "Black_Footed_Albatross_0009_34.png", 0),
    ("001.Black_footed_Albatross", "Black_Footed_Albatross_0002_55.png", 1),
    ("002.Laysan_Albatross", "Laysan_Albatross_0044_784.png", 1),
    ("002.Laysan_Albatross", "Laysan_Albatross_0068_618.png", 0),
    ("002.Laysan_Albatross", "Laysan_Albatross_0033_658.png", 1),
)


def cub(folder):
    """CUB-200-2011 as its archive unpacks, with two classes and six pictures."""
    classes = sorted({name for name, _, _ in CUB_IMAGES})
    numbered = list(enumerate(CUB_IMAGES, 1))
    files = {
        "classes.txt": [f"{number} {name}" for number, name in enumerate(classes, 1)],
        "images.txt": [f"{number} {name}/{file}" for number, (name, file, _) in numbered],
        "image_class_labels.txt": [f"{number} {int(name[:3])}" for number, (name, _, _) in numbered],
        "train_test_split.txt": [f"{number} {is_training}" for number, (_, _, is_training) in numbered],
        "bounding_boxes.txt": [f"{number} {number}.0 2.0 3.5 4.0" for number, _ in numbered],
        "parts/parts.txt": ["1 back", "2 beak", "3 left eye"],
        "parts/part_locs.txt": [
            line
            for number, _ in numbered
            for line in (f"{number} 1 1.5 2.0 1", f"{number} 2 0.0 0.0 0", f"{number} 3 {number}.0 3.0 1")
        ],
        "parts/part_click_locs.txt": ["1 1 1.5 2.0 1 3"],
        "README": ["synthetic"],
    }
    (folder / "parts").mkdir(parents=True)
    for name, lines in files.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    for number, (name, file, _) in numbered:
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
        (folder / "images" / name / file).write_bytes(png(100 + number))
    return folder
