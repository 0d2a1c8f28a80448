"""Parts of things, as WordNet has them (its file `data.noun`)."""

from collections.abc import Iterable, Mapping

_PART_OF, _KIND_OF = "#p", "@"
_FARTHEST = 4  # steps: a claw is part of a toe of a foot of a leg of a bird; a shirt is a garment is clothing


class Parts:
    """Which nouns name parts of what other nouns name."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Reads the lines of WordNet's `data.noun`.

        Raises:
            ValueError: a line is not in WordNet's form.
        """
        self._senses: dict[str, list[str]] = {}
        self._wholes: dict[str, list[str]] = {}
        self._kinds: dict[str, list[str]] = {}
        for line in lines:
            if line.startswith(" ") or not line.strip():
                continue  # the licence
            try:
                self._read(line)
            except (IndexError, ValueError):
                raise ValueError(f"not a line of WordNet's data.noun: '{line[:60].strip()}'") from None

    def part_of(self, part: str, whole: str) -> bool:
        """Whether some sense of `part` is a part of `whole`, or of what that is a kind of.

        'eye' is part of 'head' by way of the face; 'sleeve' of 'shirt', which is a garment.
        """
        wanted = _reached(self._senses.get(whole, ()), self._kinds)
        parts_of = _reached(self._senses.get(part, ()), self._wholes) - set(self._senses.get(part, ()))
        return not wanted.isdisjoint(parts_of)

    def _read(self, line: str) -> None:
        # synset, file, kind, word count (hex), word and id each, pointer count, and of each pointer four fields
        fields = line.split("|", 1)[0].split()
        synset, words_end = fields[0], 4 + 2 * int(fields[3], 16)
        for word in fields[4:words_end:2]:
            self._senses.setdefault(word.replace("_", " ").casefold(), []).append(synset)
        pointers = fields[words_end + 1 :]
        if len(pointers) < 4 * int(fields[words_end]):
            raise ValueError
        for kind, of in ((_PART_OF, self._wholes), (_KIND_OF, self._kinds)):
            of[synset] = [
                target for name, target in zip(pointers[::4], pointers[1::4], strict=False) if name == kind
            ]


def _reached(start: Iterable[str], steps: Mapping[str, Iterable[str]]) -> set[str]:
    reached = latest = set(start)
    for _ in range(_FARTHEST):
        latest = {target for synset in latest for target in steps.get(synset, ())}
        reached = reached | latest
    return reached
