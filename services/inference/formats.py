"""Which kind of data set a folder holds, and its listing."""

from pathlib import Path

from services.inference.cub import read_cub
from services.inference.idx import IMAGE_FILE, read_idx
from services.inference.image_folder import folders_in, read_image_folder
from services.inference.layout import Layout, MalformedDataset

IMAGE_FOLDER, CUB_200_2011, IDX = "image folder", "CUB-200-2011", "idx"


def read_layout(folder: Path, dataset_format: str, seed: int) -> Layout:
    """Lists a data set.

    Args:
        folder: its folder.
        dataset_format: IMAGE_FOLDER, CUB_200_2011, IDX, or "" to find it out.
        seed: of the split into parts where the folder has none.
    Raises:
        MalformedDataset: what is wrong, with file and line.
    """
    try:
        dataset_format = dataset_format or found_format(folder)
        if dataset_format == CUB_200_2011:
            return read_cub(folder)
        if dataset_format == IDX:
            return read_idx(folder)
        return read_image_folder(folder, seed)
    except OSError as error:
        reason = error.strerror or error
        raise MalformedDataset(f"{error.filename or folder} cannot be read: {reason}") from error


def found_format(folder: Path) -> str:
    """IMAGE_FOLDER, CUB_200_2011 or IDX, by the names of the files.

    Raises:
        MalformedDataset: it is none of them.
    """
    names = sorted(path.name for path in folder.iterdir())
    if "images.txt" in names or "image_class_labels.txt" in names:
        return CUB_200_2011
    if any(IMAGE_FILE.fullmatch(name) for name in names):
        return IDX
    if folders_in(folder):
        return IMAGE_FOLDER
    raise MalformedDataset(
        f"{folder} holds no data set: expected are train/CLASS/* and test/CLASS/*, CLASS/*, the images.txt "
        f"of CUB-200-2011, or train-images-idx3-ubyte; found {', '.join(names[:5]) or 'nothing'}"
    )
