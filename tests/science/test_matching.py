"""Matchings against brute force over tiny graphs, other solvers, and what is known of them."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onoma.science.biclique import bicliques
from onoma.science.biclique_programs import local_search, solve_bicliques
from onoma.science.integer_programs import (
    Rows,
    maximise,
    solve_in_time,
    solve_programme,
    solve_star_forest,
    sums_of_edges,
)
from onoma.science.matching import Kind, best_value, good_value, match, match_all
from onoma.science.one_to_one import one_to_one
from onoma.science.overlaps import Overlaps, Solution, overlaps, overlaps_of_table, parts
from onoma.science.study_data import UNNAMED, Naming

Table = NDArray[np.int64]


@st.composite
def tables(draw: st.DrawFn, most_edges: int = 10) -> Table:
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    cells = draw(st.lists(st.integers(0, 3), min_size=rows * columns, max_size=rows * columns))
    table = np.array(cells, dtype=np.int64)
    table[np.flatnonzero(table)[most_edges:]] = 0
    return table.reshape(rows, columns)


def allowed(kind: Kind, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the (n, rows, columns) choices of edges consist of sets of this kind."""
    row_degree, column_degree = chosen.sum(axis=2), chosen.sum(axis=1)
    if kind is Kind.ONE_TO_ONE:
        return (row_degree <= 1).all(axis=1) & (column_degree <= 1).all(axis=1)
    if kind is Kind.ONE_TO_MANY:
        within = chosen & (row_degree[:, :, None] > 1) & (column_degree[:, None, :] > 1)
        return ~within.any(axis=(1, 2))
    steps = chosen.astype(int)
    return (((steps @ steps.transpose(0, 2, 1) @ steps) > 0) == chosen).all(axis=(1, 2))


def brute_force(table: Table, kind: Kind) -> tuple[int, int, list[tuple[int, int]]]:
    """Best value, how many sets of edges reach it, and the lexicographically first of them."""
    edges = np.argwhere(table)
    choices = np.array(list(itertools.product([True, False], repeat=len(edges))), dtype=bool)
    chosen = np.zeros((len(choices), *table.shape), dtype=bool)
    chosen[:, edges[:, 0], edges[:, 1]] = choices.reshape(len(choices), len(edges))
    chosen = chosen[allowed(kind, chosen)]
    values = (chosen * table).sum(axis=(1, 2))
    best = chosen[values == values.max()]  # the product above takes the earliest edges first
    return int(values.max()), len(best), [tuple(edge) for edge in np.argwhere(best[0]).tolist()]


@pytest.mark.parametrize("kind", Kind)
@settings(max_examples=150)
@given(table=tables())
def test_every_tiny_graph_agrees_with_brute_force(kind: Kind, table: Table) -> None:
    value, count, first = brute_force(table, kind)
    matching = match(overlaps_of_table(table), kind)
    assert (matching.value, matching.upper_bound, matching.status) == (value, value, "optimal")
    assert matching.several_optima is (count > 1)
    assert matching.lexicographically_first
    assert list(matching.edges) == first


def one_to_one_of_edges(graph: Overlaps, deadline: float) -> Solution:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onoma.science.one_to_one._MOST_STEPS", 0)
        return one_to_one(graph, deadline)


@pytest.mark.parametrize(
    ("kind", "solve"),
    [
        (Kind.ONE_TO_ONE, one_to_one_of_edges),
        (Kind.ONE_TO_MANY, solve_star_forest),
        (Kind.BICLIQUE, solve_bicliques),
    ],
)
@settings(max_examples=60)
@given(table=tables())
def test_what_serves_large_graphs_agrees_with_brute_force_too(kind: Kind, solve, table: Table) -> None:
    value, count, first = brute_force(table, kind)
    graph = overlaps_of_table(table)
    if not graph.total:
        return
    solution: Solution = solve(graph, time.monotonic() + 20)
    assert int(graph.weight[solution.edges].sum()) == solution.upper_bound == value
    assert allowed(kind, inside(graph, solution)[None]).all()
    if solution.several_optima is not None:
        assert solution.several_optima is (count > 1)
    if solution.first:
        assert np.argwhere(inside(graph, solution)).tolist() == [list(edge) for edge in first]


def inside(graph: Overlaps, solution: Solution) -> NDArray[np.bool_]:
    chosen = np.zeros((graph.left_count, graph.right_count), dtype=bool)
    chosen[graph.left[solution.edges], graph.right[solution.edges]] = True
    return chosen


def noisy(rows: int, columns: int, items: int, seed: int, agreement: float = 0.0) -> Table:
    """A table of two namings that agree on a share of the items and are thrown at random otherwise."""
    rng = np.random.default_rng(seed)
    left = rng.integers(0, rows, items)
    right = np.where(rng.random(items) < agreement, left % columns, rng.integers(0, columns, items))
    return np.bincount(left * columns + right, minlength=rows * columns).reshape(rows, columns)


NOISY = [(shape, seed) for shape in [(5, 12), (8, 8), (12, 7), (10, 10)] for seed in range(3)]


@pytest.mark.parametrize(("shape", "seed"), NOISY)
def test_pairs_agree_with_networkx(shape: tuple[int, int], seed: int) -> None:
    table = noisy(*shape, items=150, seed=seed)
    graph = nx.Graph(
        (("left", i), ("right", j), {"weight": int(table[i, j])}) for i, j in np.argwhere(table).tolist()
    )
    wanted = sum(graph.edges[edge]["weight"] for edge in nx.max_weight_matching(graph))
    assert match(overlaps_of_table(table), Kind.ONE_TO_ONE).value == wanted


@pytest.mark.parametrize(("shape", "seed"), NOISY)
def test_stars_agree_with_an_integer_programme(shape: tuple[int, int], seed: int) -> None:
    graph = overlaps_of_table(noisy(*shape, items=150, seed=seed))
    enumerated = match(graph, Kind.ONE_TO_MANY)
    programmed = solve_star_forest(graph, time.monotonic() + 60)
    assert programmed.upper_bound == int(graph.weight[programmed.edges].sum()) == enumerated.value
    assert programmed.several_optima is enumerated.several_optima
    assert programmed.first
    assert np.array_equal(
        np.stack([graph.left, graph.right], axis=1)[programmed.edges], np.array(enumerated.edges)
    )


@pytest.mark.parametrize("seed", range(4))
def test_bicliques_agree_with_an_integer_programme(seed: int) -> None:
    graph = overlaps_of_table(noisy(5, 6, items=30, seed=seed))
    programmed = solve_bicliques(graph, time.monotonic() + 60)
    assert programmed.upper_bound == int(graph.weight[programmed.edges].sum())
    assert match(graph, Kind.BICLIQUE).value == programmed.upper_bound


@pytest.mark.parametrize(("shape", "seed"), NOISY)
def test_more_freedom_never_matches_less(shape: tuple[int, int], seed: int) -> None:
    matchings = match_all(overlaps_of_table(noisy(*shape, items=150, seed=seed, agreement=0.5)))
    values = [matchings[kind].value for kind in Kind]
    assert values == sorted(values)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("seed", range(4))
def test_left_and_right_may_change_places(kind: Kind, seed: int) -> None:
    table = noisy(6, 9, items=100, seed=seed)
    there, back = match(overlaps_of_table(table), kind), match(overlaps_of_table(table.T), kind)
    assert there.value == back.value
    assert there.several_optima is back.several_optima


def test_sets_are_disjoint_and_wholly_joined() -> None:
    table = noisy(10, 10, items=120, seed=5)
    for matching in match_all(overlaps_of_table(table)).values():
        for side in ("left", "right"):
            concepts = [concept for part in matching.sets for concept in getattr(part, side)]
            assert len(concepts) == len(set(concepts))
        assert all(table[edge] > 0 for edge in matching.edges)
        assert sum(table[edge] for edge in matching.edges) == matching.value


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(("shape", "seed"), NOISY)
def test_the_value_alone_is_the_same_value(kind: Kind, shape: tuple[int, int], seed: int) -> None:
    table = noisy(*shape, items=80, seed=seed)
    value = match(overlaps_of_table(table), kind).value
    assert best_value(table, kind, time.monotonic() + 60) == value
    good, proven = good_value(overlaps_of_table(table), kind, time.monotonic() + 60)
    assert good == value or (good < value and not proven)


def test_a_value_that_reaches_its_bound_when_time_is_over_is_proven_and_only_the_others_are_unknown() -> None:
    graphs = [overlaps_of_table(noisy(6, 6, items=60, seed=seed)) for seed in range(60)]
    solutions = [(bicliques(graph, deadline=0), graph) for graph in graphs]
    reached = {
        solution.several_unknown
        for solution, graph in solutions
        if graph.weight[solution.edges].sum() == solution.upper_bound and solution.several_optima is None
    }
    assert reached == {"the time limit ended the search for another"}


def test_the_value_alone_of_a_large_table_is_left_unknown() -> None:
    table = noisy(20, 20, items=400, seed=0)
    assert best_value(table, Kind.ONE_TO_MANY, time.monotonic() + 60) is None
    assert best_value(table, Kind.BICLIQUE, time.monotonic() + 60) is None


def test_a_concept_split_in_two_is_one_star() -> None:
    matchings = match_all(overlaps_of_table(np.array([[5, 4, 0], [0, 0, 3]])))
    assert matchings[Kind.ONE_TO_ONE].value == 8
    assert [(part.left, part.right) for part in matchings[Kind.ONE_TO_MANY].sets] == [
        ((0,), (0, 1)),
        ((1,), (2,)),
    ]


@pytest.mark.parametrize("kind", Kind)
def test_nothing_in_common_matches_nothing(kind: Kind) -> None:
    for table in (np.zeros((3, 2), dtype=np.int64), np.zeros((0, 4), dtype=np.int64)):
        matching = match(overlaps_of_table(table), kind)
        assert (matching.value, matching.upper_bound, matching.sets, matching.several_optima) == (
            0,
            0,
            (),
            False,
        )


@pytest.mark.parametrize("kind", [Kind.ONE_TO_MANY, Kind.BICLIQUE])
def test_a_time_limit_too_short_gives_a_bound_and_claims_no_proof(kind: Kind) -> None:
    graph = overlaps_of_table(noisy(20, 20, items=400, seed=0))
    matching = match(graph, kind, time_limit_s=0.001)
    assert matching.status == "feasible"
    assert 0 < matching.value < matching.upper_bound <= graph.total
    assert matching.several_optima is None
    assert not matching.lexicographically_first


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_time_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match="it must be positive"):
        match(overlaps_of_table(np.eye(2, dtype=np.int64)), Kind.BICLIQUE, limit)


def test_a_search_for_bicliques_that_is_cut_off_says_so() -> None:
    graph = overlaps_of_table(noisy(12, 12, items=150, seed=1))
    whole, cut = match(graph, Kind.BICLIQUE), match(graph, Kind.BICLIQUE, time_limit_s=1e-9)
    assert whole.status == "optimal"
    assert cut.value <= whole.value <= cut.upper_bound
    assert cut.several_optima is None


TOO_LARGE_TO_LIST = "another optimum is not looked for in graphs that are too large to list all partitions"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("kind", "side", "value"),
    [
        (Kind.ONE_TO_ONE, 12, 12),
        (Kind.ONE_TO_ONE, 14, 14),
        (Kind.ONE_TO_ONE, 40, 40),
        (Kind.ONE_TO_MANY, 12, 22),
        (Kind.ONE_TO_MANY, 14, 26),
        (Kind.ONE_TO_MANY, 40, 78),
        (Kind.BICLIQUE, 12, 72),
        (Kind.BICLIQUE, 14, 98),
    ],
)
def test_graphs_full_of_ties_are_matched_with_proof(kind: Kind, side: int, value: int) -> None:
    matching = match(overlaps_of_table(1 - np.eye(side, dtype=np.int64)), kind, time_limit_s=100)
    assert (matching.status, matching.value, matching.several_optima) == ("optimal", value, True)
    assert not matching.several_unknown


@pytest.mark.timeout(60)  # the search for a proof would take for ever
def test_bicliques_of_a_large_graph_full_of_ties_end_with_their_time() -> None:
    matching = match(overlaps_of_table(1 - np.eye(40, dtype=np.int64)), Kind.BICLIQUE, time_limit_s=1)
    assert (matching.status, matching.several_optima) == ("feasible", None)
    assert matching.several_unknown == TOO_LARGE_TO_LIST
    assert 78 <= matching.value < matching.upper_bound <= 40 * 39  # a star forest is one of bicliques


@pytest.mark.timeout(120)
def test_thousands_of_concepts_in_one_chain_are_matched_one_to_one_with_proof() -> None:
    matching = match(ring(10_000, (1, 1), seed=1), Kind.ONE_TO_ONE, time_limit_s=100)
    assert (matching.status, matching.value, matching.several_optima) == ("optimal", 10_000, True)


@pytest.mark.slow
@pytest.mark.timeout(120)  # a step of HiGHS alone takes longer than that
@pytest.mark.parametrize(
    ("kind", "why"),
    [(Kind.ONE_TO_MANY, "the matching is not proven optimal"), (Kind.BICLIQUE, TOO_LARGE_TO_LIST)],
)
def test_thousands_of_concepts_in_one_chain_end_with_their_time(kind: Kind, why: str) -> None:
    matching = match(ring(10_000, (1, 1), seed=1), kind, time_limit_s=2)
    assert (matching.status, matching.several_optima) == ("feasible", None)
    assert matching.several_unknown == why
    assert 10_000 <= matching.value < matching.upper_bound <= 20_000


def test_a_large_programme_is_solved_in_a_process_of_its_own_and_ended_with_its_time() -> None:
    graph = ring(30, (2, 1))
    rows = [sums_of_edges(graph.left, 30), sums_of_edges(graph.right, 30)]
    task = (graph.weight.astype(np.float64), np.ones(60, np.bool_), rows)
    (x, bound), (own_x, own_bound) = solve_in_time(*task, 60), solve_programme(*task, 60)
    assert x is not None
    assert own_x is not None
    assert bound == own_bound == -60
    assert x.tolist() == own_x.tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onoma.science.integer_programs._GRACE_S", 0)
        assert solve_in_time(*task, 0.01) == (None, None)


def test_a_programme_whose_process_was_killed_has_no_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(killed))
    task = (np.ones(2), np.ones(2, np.bool_), [sums_of_edges(np.zeros(2, np.int64), 1)])
    assert solve_in_time(*task, 60) == (None, None)


def test_what_lies_in_the_working_directory_is_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "scipy.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "onoma.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    task = (np.ones(2), np.ones(2, np.bool_), [sums_of_edges(np.zeros(2, np.int64), 1)])
    assert solve_in_time(*task, 60)[1] == -1


def test_a_bound_in_floating_point_proves_nothing_of_weights_too_large_for_it() -> None:
    large = 10**10
    objective = np.array([large + 1, large], dtype=np.float64)
    one = [Rows(np.zeros(2, np.int64), np.arange(2), np.ones(2), np.array([-np.inf]), np.array([1.0]))]
    whole = np.ones(2, np.bool_)
    for scale, proven in ((1.0, False), (1e-9, True)):
        answer = maximise(np.round(objective * scale), whole, one, time.monotonic() + 10)
        assert answer.x is not None
        assert answer.bound is not None
        value = int(np.round(objective * scale)[answer.x > 0.5].sum())
        assert (answer.bound == value) is proven


def test_the_local_search_finds_bicliques_that_are_there() -> None:
    graph = overlaps_of_table(np.kron(np.eye(20, dtype=np.int64), np.full((2, 2), 7)))
    assert local_search(graph, deadline=0).all()


def ring(count: int, weights: tuple[int, int], seed: int | None = None) -> Overlaps:
    """A cycle through `count` concepts a side; a seed gives them their numbers at random."""
    index = np.arange(count)
    left, right = np.repeat(index, 2), np.stack([index, (index + 1) % count], axis=1).ravel()
    if seed is not None:
        rng = np.random.default_rng(seed)
        left, right = rng.permutation(count)[left], rng.permutation(count)[right]
    order = np.lexsort((right, left))
    return Overlaps(count, count, left[order], right[order], np.tile(weights, count)[order])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize(("weights", "several"), [((2, 1), False), ((1, 1), True)])
@pytest.mark.parametrize("count", [100, 3000])
def test_long_rings_are_matched_first_and_soon(
    count: int, weights: tuple[int, int], several: bool, seed: int | None
) -> None:
    matching = match(ring(count, weights, seed), Kind.ONE_TO_ONE, time_limit_s=100)
    assert (matching.status, matching.value) == ("optimal", weights[0] * count)
    assert (matching.several_optima, matching.lexicographically_first) == (several, True)


def test_a_long_ring_in_no_time_is_matched_without_looking_for_others() -> None:
    matching = match(ring(900, (1, 1)), Kind.ONE_TO_ONE, time_limit_s=1e-9)
    assert (matching.status, matching.value) == ("optimal", 900)
    assert not matching.lexicographically_first


def test_a_graph_turned_round_has_the_turned_table() -> None:
    table = noisy(4, 6, items=20, seed=2)
    turned = overlaps_of_table(table).turned
    assert turned.table().tolist() == table.T.tolist()
    assert turned.left.tolist() == overlaps_of_table(table.T).left.tolist()


def test_overlaps_count_what_both_named() -> None:
    left = Naming("ann", ("eye", "wing"), np.array([0, 0, 1, UNNAMED], dtype=np.int32))
    right = Naming("bob", ("head",), np.array([0, 0, UNNAMED, 0], dtype=np.int32))
    assert overlaps(left, right).table().tolist() == [[2], [0]]


def test_namings_of_two_categories_have_no_overlap() -> None:
    left = Naming("ann", (), np.zeros(3, dtype=np.int32))
    right = Naming("bob", (), np.zeros(4, dtype=np.int32))
    with pytest.raises(ValueError, match="not of one category"):
        overlaps(left, right)


def test_parts_keep_the_order_of_concepts() -> None:
    graph = overlaps_of_table(np.array([[0, 1, 0], [2, 0, 0], [0, 3, 0]]))
    found: Iterator[tuple[Overlaps, NDArray[np.int64]]] = parts(graph)
    assert [(part.table().tolist(), edges.tolist()) for part, edges in found] == [
        ([[1], [3]], [0, 2]),
        ([[2]], [1]),
    ]
