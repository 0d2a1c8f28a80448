"""Do two names mean the same? Rules, a study's synonyms, and people who overrule both (paper, Table 6).

Rules come first and are simple on purpose: a label is a list of terms ('wing and eye'), a term a head word with
modifiers ('open wing'). No threshold on word embeddings separates compatible pairs (docs/statistics.md), so there is
none here.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, lru_cache
from itertools import pairwise

from onoma.science.study_data import Ratio

VAGUE = (
    "background",
    "misc",
    "miscellaneous",
    "mixed",
    "multiple parts",
    "multiple parts captured",
    "noise",
    "other",
    "several parts",
    "something",
    "unclear",
    "unknown",
    "unlabeled",
    "various",
)
"""Names that say too little to agree with any."""

_SPELLINGS = {
    "armour": "armor",
    "calibre": "caliber",
    "catalogue": "catalog",
    "centre": "center",
    "chequered": "checkered",
    "colour": "color",
    "coloured": "colored",
    "discolouration": "discoloration",
    "draught": "draft",
    "enamelled": "enameled",
    "favourite": "favorite",
    "fibre": "fiber",
    "fibreglass": "fiberglass",
    "flavour": "flavor",
    "grey": "gray",
    "greyish": "grayish",
    "grille": "grill",
    "harbour": "harbor",
    "jewelled": "jeweled",
    "jewellery": "jewelry",
    "kerb": "curb",
    "labelled": "labeled",
    "lustre": "luster",
    "metre": "meter",
    "modelled": "modeled",
    "mould": "mold",
    "moulded": "molded",
    "moulding": "molding",
    "moustache": "mustache",
    "neighbour": "neighbor",
    "panelled": "paneled",
    "plough": "plow",
    "pyjamas": "pajamas",
    "sabre": "saber",
    "sceptre": "scepter",
    "smoulder": "smolder",
    "spectre": "specter",
    "storey": "story",
    "theatre": "theater",
    "tumour": "tumor",
    "tyre": "tire",
    "vapour": "vapor",
    "woollen": "woolen",
}
"""British to American, of words that name what is seen; applied to words in their dictionary form."""

_NOUNS = {"crosses": "cross", "halves": "half", "leaves": "leaf", "lenses": "lens", "shelves": "shelf"}
"""Plurals that the dictionary takes for verbs or gets wrong."""

_SHORT = 2  # letters: 'us' and 'is' are no plurals
_PLURAL_ENDINGS = ("s", "ae", "children", "feet", "geese", "i", "lice", "men", "mice", "oxen", "teeth")
"""Only such words are looked up: the dictionary knows verbs too, and 'lit' is no 'light', nor a 'saw' to 'see'."""

_WITHOUT_MEANING = {"a", "an", "the", "its", "his", "her", "their"}
_SEPARATORS = re.compile(r"\s*(?:[/&,;+]|\band\b)\s*")
_POSSESSIVE = re.compile(r"(?<=\w)['\u2019]s\b")
_WORDS = re.compile(r"[LN][LNM]*")
"""In Unicode's letters, numbers and marks: the vowels of many scripts are marks."""


class Outcome(Enum):
    """What the labels of two matched concepts are to each other."""

    EXACT = "exact"
    SUBSET = "subset"
    """One says all that the other says and more, or a part of it."""
    NONE = "none"
    AMBIGUOUS = "ambiguous"
    """Not to be told; counts as not compatible and is shown apart."""


@dataclass(frozen=True)
class Judgement:
    """What was decided of two labels.

    Attributes:
        outcome: of the pair.
        reason: the rule that applied, or who overruled it and when.
        by_hand: whether a person decided.
    """

    outcome: Outcome
    reason: str
    by_hand: bool = False


@dataclass(frozen=True)
class Overruling:
    """A person's decision on two labels; the latest on a pair counts, the earlier ones are kept.

    Attributes:
        labels: the pair, in any order; case does not matter.
        outcome: what it is.
        by: who decided; empty where that is not known.
        when: ISO date or time; empty where that is not known.
    """

    labels: tuple[str, str]
    outcome: Outcome
    by: str = ""
    when: str = ""


@dataclass(frozen=True)
class Term:
    """One thing that a label names: a head word and what narrows it down."""

    head: str
    modifiers: frozenset[str] = frozenset()

    def narrows(self, other: "Term") -> bool:
        """Whether this is the other term, or a kind of it ('open wing' is a kind of 'wing')."""
        return self.head == other.head and self.modifiers >= other.modifiers


@dataclass(frozen=True)
class Vocabulary:
    """How labels are read and compared in a study.

    Attributes:
        synonyms: groups of words or phrases that mean the same ('beak', 'nose').
        vague: labels that say too little.
        overrulings: people's decisions, earlier ones first.
        part_of: whether the first word names a part of what the second names; None leaves parts out.
        closed: whether people have judged every pair: one that is not in `overrulings` is then no match, by hand.
    """

    synonyms: Sequence[Sequence[str]] = ()
    vague: Sequence[str] = VAGUE
    overrulings: Sequence[Overruling] = ()
    part_of: Callable[[str, str], bool] | None = None
    closed: bool = False

    def judge(self, left: str, right: str) -> Judgement:
        """What two labels are to each other; the order does not matter."""
        overruled = self._overruled.get(_pair(left, right))
        if overruled is not None:
            who = " ".join(word for word in (overruled.by, overruled.when) if word)
            return Judgement(overruled.outcome, f"judged by hand ({who})" if who else "judged by hand", True)
        if self.closed:
            return Judgement(Outcome.NONE, "judged by hand: not among the compatible pairs", True)
        return self._by_rule(left, right)

    def terms(self, label: str) -> frozenset[Term]:
        """The things that a label names; empty where it has no word."""
        return self._terms(label, {}, phrases=True)

    def _terms(self, label: str, apart: Mapping[str, tuple[str, ...]], *, phrases: bool) -> frozenset[Term]:
        parts = [_taken_apart(words, apart) for words in _phrases(label)]
        read = (self._term(self._with_first_phrases(words) if phrases else words) for words in parts)
        return frozenset(term for term in read if term is not None)

    def _by_rule(self, left: str, right: str) -> Judgement:
        for label in (left, right):
            if _words(label) in self._vague_words:
                return Judgement(Outcome.AMBIGUOUS, f"'{label}' says too little")
        if _folded(left) == _folded(right):
            return Judgement(Outcome.EXACT, "the same name")
        # 'wingtip' is read as 'wing tip' where the other name writes it so
        apart = {one + other: (one, other) for label in (left, right) for one, other in _neighbours(label)}
        # Once with phrases put in for their synonyms, once as written: a 'tail feather', that is a 'rear plume', is a
        # feather, too.
        readings = [
            (self._terms(left, apart, phrases=phrases), self._terms(right, apart, phrases=phrases))
            for phrases in ((True, False) if self.synonyms else (True,))
        ]
        these, those = readings[0]
        if not these or not those:
            return Judgement(Outcome.NONE, "a name without words")
        if any(one == other for one, other in readings):
            return Judgement(Outcome.EXACT, "the same words, but for form, order or synonyms")
        either_way = [way for one, other in readings for way in ((one, other, right), (other, one, left))]
        for narrow, wide, name in either_way:
            if all(any(term.narrows(other) for other in wide) for term in narrow):
                return Judgement(Outcome.SUBSET, f"a part or kind of '{name}'")
        if self.part_of is not None:
            for narrow, wide, name in either_way:
                if all(any(self._belongs(term, other) for other in wide) for term in narrow):
                    return Judgement(Outcome.SUBSET, f"part of '{name}' by WordNet")
        return _without_relation(these, those)

    def _belongs(self, term: Term, other: Term) -> bool:
        if term.narrows(other):
            return True
        return self.part_of is not None and not other.modifiers and self.part_of(term.head, other.head)

    def _term(self, words: tuple[str, ...]) -> Term | None:
        if not words:
            return None
        # 'tip of the wing' reads as 'wing tip', 'tip of the wing of a bird' as 'bird wing tip'
        at = words.index("of") if "of" in words[1:-1] else len(words)
        head = self._word(words[at - 1])
        told = [self._word(word) for word in (*words[: at - 1], *words[at + 1 :]) if word != "of"]
        return Term(head, frozenset(told) - {head})

    def _with_first_phrases(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """The words with the first phrase of its group in the place of every synonym, the longest taken first."""
        for length in range(len(words), 0, -1):
            for start in range(len(words) - length + 1):
                same = self._representative.get(words[start : start + length])
                if same is not None:
                    before, after = words[:start], words[start + length :]
                    return self._with_first_phrases(before) + same + self._with_first_phrases(after)
        return words

    def _word(self, word: str) -> str:
        same = self._representative.get((word,))
        return same[-1] if same is not None and len(same) == 1 else word

    @cached_property
    def _representative(self) -> Mapping[tuple[str, ...], tuple[str, ...]]:
        """The first phrase of its group, for every phrase of the synonyms; groups that share a phrase are one."""
        groups: list[set[tuple[str, ...]]] = []
        for synonyms in self.synonyms:
            group = {words for words in map(_words, synonyms) if words}
            for known in [known for known in groups if known & group]:
                group |= known
                groups.remove(known)
            groups.append(group)
        return {words: min(group) for group in groups for words in group}

    @cached_property
    def _vague_words(self) -> frozenset[tuple[str, ...]]:
        return frozenset(map(_words, self.vague))

    @cached_property
    def _overruled(self) -> Mapping[frozenset[str], Overruling]:
        return {_pair(*overruling.labels): overruling for overruling in self.overrulings}


@dataclass(frozen=True)
class MatchedLabels:
    """Two concepts that a matching takes for one, and what their labels are to each other.

    Attributes:
        left, right: the labels.
        weight: activations that the concepts share.
        judgement: of the labels.
    """

    left: str
    right: str
    weight: int
    judgement: Judgement


@dataclass(frozen=True)
class Compatibility:
    """How far the labels of matched concepts fit, by the activations that the concepts share (paper, Table 6).

    Attributes:
        exact: activations of edges with the same label.
        subset: with the same label or one that holds the other.
        ambiguous: where the labels do not tell; in neither of the above.
        edge_count: matched edges.
        by_hand_count: edges whose labels a person judged.
    """

    exact: Ratio
    subset: Ratio
    ambiguous: Ratio
    edge_count: int
    by_hand_count: int


def compatibility(matched: Iterable[MatchedLabels]) -> Compatibility:
    """The compatibility of matched edges; 0/0 without any."""
    matched = list(matched)
    total = sum(edge.weight for edge in matched)

    def share(*outcomes: Outcome) -> Ratio:
        return Ratio(sum(edge.weight for edge in matched if edge.judgement.outcome in outcomes), total)

    return Compatibility(
        share(Outcome.EXACT),
        share(Outcome.EXACT, Outcome.SUBSET),
        share(Outcome.AMBIGUOUS),
        len(matched),
        sum(edge.judgement.by_hand for edge in matched),
    )


def _without_relation(these: frozenset[Term], those: frozenset[Term]) -> Judgement:
    shared = sorted({term.head for term in these} & {term.head for term in those})
    if shared:
        return Judgement(Outcome.AMBIGUOUS, f"both name '{shared[0]}', but neither holds the other")
    for some, others in ((these, those), (those, these)):
        told = {word for term in some for word in term.modifiers} & {term.head for term in others}
        if told:
            return Judgement(Outcome.AMBIGUOUS, f"'{min(told)}' only narrows down the other name")
    return Judgement(Outcome.NONE, "different words")


def _pair(left: str, right: str) -> frozenset[str]:
    return frozenset((_folded(left), _folded(right)))


def _folded(label: str) -> str:
    """Without differences of case, width, accents' encoding and spaces."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def _phrases(label: str) -> list[tuple[str, ...]]:
    """The words of each part of a label that names one thing."""
    return [_words(part) for part in _SEPARATORS.split(_folded(label))]


def _neighbours(label: str) -> Iterable[tuple[str, str]]:
    return (pair for words in _phrases(label) for pair in pairwise(words))


def _taken_apart(words: tuple[str, ...], apart: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(part for word in words for part in apart.get(word, (word,)))


def _words(phrase: str) -> tuple[str, ...]:
    """Words in their dictionary form; marks and words without meaning are left out."""
    spelled = _POSSESSIVE.sub("", _folded(phrase))
    kinds = "".join(unicodedata.category(sign)[0] for sign in spelled)
    words = [spelled[slice(*found.span())] for found in _WORDS.finditer(kinds)]
    told = [word for word in words if word not in _WITHOUT_MEANING] or words
    return tuple(_lemma(word) for word in told)


@lru_cache(maxsize=10_000)
def _lemma(word: str) -> str:
    """The singular of an English noun, in American spelling; words of other scripts stay as they are."""
    # Its dictionary takes a tenth of a second to read, which a study judged by hand has no need of.
    from simplemma import lemmatize

    if word.isascii() and len(word) > _SHORT and word.endswith(_PLURAL_ENDINGS):
        word = _NOUNS.get(word) or lemmatize(word, lang="en")
    return _SPELLINGS.get(word, word)
