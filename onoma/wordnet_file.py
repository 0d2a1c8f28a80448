"""Where WordNet lies on a machine: what the command line and the analytics service open for `onoma.science.wordnet`."""

from pathlib import Path

from onoma.science.wordnet import Parts

DATA_NOUN = Path("/usr/share/wordnet/data.noun")
"""Of Debian's wordnet-base."""


def read_parts(file: Path = DATA_NOUN) -> Parts:
    """Reads WordNet's `data.noun`.

    Raises:
        ValueError: it is not there, or is something else.
    """
    try:
        with file.open(encoding="latin-1") as lines:
            return Parts(lines)
    except FileNotFoundError:
        raise ValueError(
            f"parts by WordNet need the file {file}, which is not there: install Debian's wordnet-base, or say where "
            "data.noun is"
        ) from None
