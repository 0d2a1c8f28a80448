import numpy as np

from onoma.science.consensus import Join, Member, SharedConcept, consensus
from onoma.science.study_data import Category, Ratio, make_category, make_namings

IDS = [f"a{i}" for i in range(8)]


def category() -> Category:
    return make_category("bird", IDS, IDS, IDS, [0] * 8)


def shared(joins: list[Join], **concepts: dict[str, list[int]]) -> tuple[SharedConcept, ...]:
    namings = make_namings(
        category(),
        {
            annotator: [(name, [IDS[i] for i in members]) for name, members in named.items()]
            for annotator, named in concepts.items()
        },
    )
    return consensus(category(), list(namings.values()), joins)


def join(one: tuple[str, int], other: tuple[str, int], weight: int, sizes: tuple[int, int]) -> Join:
    return Join(Member(*one), Member(*other), weight, *sizes)


def test_concepts_that_matchings_pair_are_one_with_names_support_and_dissenters() -> None:
    concepts = shared(
        [join(("ann", 0), ("bob", 0), 4, (4, 4))],
        ann={"Eye": [0, 1, 2, 3]},
        bob={"eye": [0, 1, 2, 3], "wing": [4, 5, 6]},
        cem={},
    )
    assert concepts[0] == SharedConcept(
        names=(("Eye", 2),),
        members=(("ann", "Eye"), ("bob", "eye")),
        support=Ratio(2, 3),
        dissenters=("cem",),
        activation_count=4,
    )
    assert concepts[1].names == (("wing", 1),)
    assert concepts[1].dissenters == ("ann", "cem")


def test_what_an_annotator_tells_apart_stays_apart() -> None:
    concepts = shared(
        [
            join(("ann", 0), ("bob", 0), 3, (3, 4)),
            join(("cem", 0), ("bob", 0), 3, (3, 4)),
            join(("cem", 0), ("ann", 1), 2, (3, 2)),
        ],
        ann={"eye": [0, 1, 2], "beak": [3, 4]},
        bob={"head": [0, 1, 2, 3]},
        cem={"face": [0, 1, 2]},
    )
    assert [concept.members for concept in concepts] == [
        (("ann", "eye"), ("bob", "head"), ("cem", "face")),
        (("ann", "beak"),),
    ]


def test_a_pair_that_shares_little_is_not_one() -> None:
    concepts = shared(
        [join(("ann", 0), ("bob", 0), 1, (4, 4))], ann={"eye": [0, 1, 2, 3]}, bob={"wing": [3, 4, 5, 6]}
    )
    assert len(concepts) == 2


def test_ties_do_not_go_by_who_was_invited_first() -> None:
    named = {
        "ann": {"eye": [0, 1, 2], "lid": [3, 4, 5]},
        "bob": {"eye": [0, 1, 2]},
        "cem": {"eye": [1, 2, 3, 4]},
    }
    first = join(("ann", 0), ("bob", 0), 3, (3, 3))
    ann_and_cem, bob_and_cem = (("ann", 1), ("cem", 0)), (("bob", 0), ("cem", 0))
    one_way = shared([first, join(*ann_and_cem, 2, (3, 4)), join(*bob_and_cem, 2, (3, 4))], **named)
    other_way = shared([first, join(*ann_and_cem[::-1], 2, (4, 3)), join(*bob_and_cem, 2, (3, 4))], **named)
    assert [concept.members for concept in one_way] == [concept.members for concept in other_way]


def test_the_order_of_joins_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    joins = [
        join((one, 0), (other, 0), 3, (3, 3))
        for one, other in [("ann", "bob"), ("bob", "cem"), ("ann", "cem")]
    ]
    named = {who: {"eye": [0, 1, 2]} for who in ("ann", "bob", "cem")}
    wanted = shared(joins, **named)
    rng.shuffle(joins)
    assert shared(joins, **named) == wanted
    assert len(wanted) == 1


def test_nobody_shares_nothing() -> None:
    assert consensus(category(), [], []) == ()
