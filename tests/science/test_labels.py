import pytest

from onoma.science.labels import (
    Judgement,
    MatchedLabels,
    Outcome,
    Overruling,
    Vocabulary,
    compatibility,
)
from onoma.science.study_data import Ratio
from onoma.science.wordnet import Parts

EXACT, SUBSET, NONE, AMBIGUOUS = Outcome


@pytest.mark.parametrize(
    ("left", "right", "outcome"),
    [
        ("Eye", "eye", EXACT),
        ("wings", "Wing", EXACT),
        ("the  grey Wing", "gray wing", EXACT),
        ("feet", "foot", EXACT),
        ("bodies", "body", EXACT),
        ("eye and beak", "beak / eye", EXACT),
        ("tip of the wing", "wing tip", EXACT),
        ("tip of the wing of a bird", "bird wing tip", EXACT),
        ("bird's wing", "bird wing", EXACT),
        ("the birds\u2019 wings", "wing of a bird", EXACT),
        ("bird\u2019s wing", "wing", SUBSET),
        ("open wing", "wing", SUBSET),
        ("eye", "wing & eye", SUBSET),
        ("open wing", "wing, eye", SUBSET),
        ("eye", "wing", NONE),
        ("Tail", "Wing", NONE),
        ("iris", "iri", NONE),
        ("left wing", "right wing", AMBIGUOUS),
        ("eye and wing", "eye and beak", AMBIGUOUS),
        ("wing tip", "wing", AMBIGUOUS),
        ("multiple parts captured", "wing", AMBIGUOUS),
        ("Noise", "noise", AMBIGUOUS),
        ("翼", "翼", EXACT),
        ("翼", "目", NONE),
        ("Крыло", "крыло", EXACT),
        ("\uff45\uff59\uff45", "eye", EXACT),
        ("wingtip", "wing tip", EXACT),
        ("head lights", "headlights", EXACT),
        ("left headlight", "head light", SUBSET),
        ("wingtip", "wing-tips and eye", SUBSET),
        ("tipwing", "wing tip", NONE),
        ("glass", "glasses", EXACT),
        ("dress", "dresses", EXACT),
        ("spotted wing", "spot", NONE),
        ("grass", "gras", NONE),
        ("saw", "saws", EXACT),
        ("lit window", "light window", AMBIGUOUS),
        ("\N{EYE}\N{VARIATION SELECTOR-16} eye", "eye", EXACT),
        ("\u092a\u0948\u0930", "\u092a\u0930", NONE),  # foot and wing in Hindi, a vowel apart
        (
            "\u0b9a\u0bbf\u0bb1\u0b95\u0bc1 \u0baa\u0bbe\u0bb2\u0bcd",
            "\u0baa\u0bb2\u0bcd",
            NONE,
        ),  # a tooth in Tamil is no milk
        ("\u0e2b\u0e31\u0e27", "\u0e2b\u0e27", NONE),
        ("\u0906\u0902\u0916", "\u092e\u0941\u0916", NONE),  # eye and mouth
        ("???", "???", EXACT),
        ("???", "eye", NONE),
        ("", "eye", NONE),
    ],
)
def test_rules(left: str, right: str, outcome: Outcome) -> None:
    words = Vocabulary()
    assert words.judge(left, right).outcome is outcome
    assert words.judge(right, left).outcome is outcome
    assert words.judge(left, right).reason


@pytest.mark.parametrize(
    "pair",
    [
        "tie ties",
        "hoodie hoodies",
        "scarf scarves",
        "lens lenses",
        "bus buses",
        "size sizes",
        "knife knives",
        "wolf wolves",
        "man men",
        "mouse mice",
        "tomato tomatoes",
        "fibre fiber",
        "fibres fiber",
        "mould mold",
        "jewellery jewelry",
        "colours color",
        "tyres tire",
        "leaf leaves",
        "half halves",
        "hoof hooves",
        "shelf shelves",
        "tooth teeth",
        "foot feet",
        "goose geese",
        "woman women",
        "iris irises",
        "antenna antennae",
        "shoe shoes",
        "toe toes",
        "nose noses",
        "horse horses",
        "cross crosses",
        "box boxes",
        "berry berries",
        "watch watches",
        "gas gases",
        "child children",
        "grille grills",
        "chassis chassis",
        "axis axis",
        "canvas canvas",
    ],
)
def test_forms_of_a_word_are_one_word(pair: str) -> None:
    one, other = pair.split()
    assert Vocabulary().judge(one, other).outcome is EXACT
    assert Vocabulary().judge(f"left {one}", f"{other} (left)").outcome is not NONE


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("red tail feather", "tail feather"),
        ("red tail feather", "rear plume"),
        ("tail feather", "feather"),
        ("tail feather and beak", "red tail feather"),
    ],
)
def test_a_synonym_that_is_a_phrase_counts_inside_a_name_and_hides_no_word(left: str, right: str) -> None:
    words = Vocabulary(synonyms=[["tail feather", "rear plume"]])
    assert words.judge(left, right).outcome is Outcome.SUBSET


def test_synonyms_of_a_study_are_one_word_or_phrase() -> None:
    words = Vocabulary(synonyms=[["beak", "nose"], ["nose", "bill"], ["tail feather", "rectrix"]])
    assert words.judge("Beak", "bills").outcome is EXACT
    assert words.judge("yellow nose", "beak").outcome is SUBSET
    assert words.judge("tail feathers", "rectrix").outcome is EXACT
    assert Vocabulary().judge("beak", "nose").outcome is NONE


def test_vague_words_can_be_edited() -> None:
    assert Vocabulary(vague=["stuff"]).judge("stuff", "stuff").outcome is AMBIGUOUS
    assert Vocabulary(vague=[]).judge("noise", "noise").outcome is EXACT


def test_a_person_overrules_the_rules_and_is_named() -> None:
    words = Vocabulary(
        overrulings=[
            Overruling(("eye", "Head"), NONE, "ann", "2025-01-01"),
            Overruling(("HEAD", "eye"), SUBSET, "bob", "2025-01-02"),
        ]
    )
    judged = words.judge("Eye", "head")
    assert judged.outcome is SUBSET
    assert judged.by_hand
    assert judged.reason == "judged by hand (bob 2025-01-02)"
    assert len(words.overrulings) == 2


def test_where_people_judged_every_pair_the_rules_are_silent() -> None:
    words = Vocabulary(overrulings=[Overruling(("eye", "eye"), EXACT)], closed=True)
    assert words.judge("Eye", "eye").outcome is EXACT
    assert words.judge("wing", "wing") == Judgement(
        NONE, "judged by hand: not among the compatible pairs", True
    )


def test_compatibility_goes_by_weight_and_counts_hand_judgements() -> None:
    words = Vocabulary(overrulings=[Overruling(("beak", "nose"), EXACT, "ann")])
    pairs = [("eye", "eye", 3), ("wing", "open wing", 2), ("beak", "nose", 4), ("noise", "tail", 1)]
    got = compatibility(MatchedLabels(a, b, weight, words.judge(a, b)) for a, b, weight in pairs)
    assert (got.exact, got.subset, got.ambiguous) == (Ratio(7, 10), Ratio(9, 10), Ratio(1, 10))
    assert (got.edge_count, got.by_hand_count) == (4, 1)
    assert compatibility([]).exact.value is None


WORDNET = """\
  1 This software and database is being provided to you, the LICENSEE
01503061 05 n 01 bird 0 001 %p 01758308 n 0000 | warm-blooded egg-laying vertebrates
01758308 05 n 05 beak 0 bill 0 neb 1 nib 0 pecker 1 002 @ 05301908 n 0000 #p 05600637 n 0000 | horny mouth
01503999 05 n 01 parrot 0 001 @ 01503061 n 0000 | usually brightly coloured
05600637 08 n 02 head 0 human_head 0 001 #p 01503061 n 0000 | the upper part
"""


def test_parts_come_from_wordnet_over_several_steps_and_only_when_asked() -> None:
    parts = Parts(WORDNET.splitlines())
    assert parts.part_of("beak", "bird")
    assert parts.part_of("beak", "parrot")  # which is a bird
    assert not parts.part_of("bird", "beak")
    assert not parts.part_of("keyboard", "bird")
    asked = Vocabulary(part_of=parts.part_of).judge("yellow beak", "head")
    assert asked.outcome is SUBSET
    assert asked.reason == "part of 'head' by WordNet"
    assert Vocabulary().judge("yellow beak", "head").outcome is NONE


def test_a_file_that_is_not_wordnets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not a line of WordNet's data\.noun: 'hello world'"):
        Parts(["hello world"])
