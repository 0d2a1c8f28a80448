"""Agreement, consensus and the whole analysis over the services: the worked example's numbers."""

import json
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest

from onoma.science import analysis, category_analysis
from onoma.science.analysis import analyse
from onoma.science.study_file import study_from_document
from onoma.science.wordnet import Parts
from onoma.v1 import analytics_pb2 as pb
from onoma.v1 import analytics_pb2_grpc
from onoma.wordnet_file import read_parts
from services.analytics import service, statistics
from services.runtime.cores import cores
from services.runtime.paging import make_token
from tests.services.analytics.stand_ins import EXAMPLE, STUDY_ID, World
from tests.services.analytics.test_analytics_service import refusal

Stub = analytics_pb2_grpc.AnalyticsServiceStub
DEADLINE_S = 60
EYE_OF_HEAD = """\
00000001 08 n 01 eye 0 001 #p 00000002 n 0000 | an eye
00000002 08 n 01 head 0 000 | a head
"""


def by_display_names(value: Any) -> Any:
    """The example's annotators under the names that the stand-in for naming shows."""
    text = json.dumps(value)
    for annotator in EXAMPLE["input"]["annotators"]:
        text = text.replace(f'"{annotator}"', f'"name of {annotator}"')
    return json.loads(text)


@pytest.fixture
def expected() -> dict[str, Any]:
    """What the science gives for the same study as a file, in which Ada judged the labels."""
    document = by_display_names(EXAMPLE["input"])
    judged = document.pop("label_judgements")
    document["overrulings"] = [
        {"labels": labels, "outcome": outcome, "by": "Ada", "when": "1970-01-01T00:00:00"}
        for key, outcome in (("exact", "exact"), ("subset_only", "subset"))
        for labels in judged[key]
    ]
    return analyse(study_from_document(document))


def asked(analytics: Stub, **fields: Any) -> list[pb.AnalyseStudyResponse]:
    request = pb.AnalyseStudyRequest(study_id=STUDY_ID, **fields)
    return list(analytics.AnalyseStudy(request, timeout=DEADLINE_S))


def parts_of(answers: list[pb.AnalyseStudyResponse]) -> dict[str, Any]:
    return {answer.category: json.loads(answer.json) for answer in answers if answer.category}


def test_the_whole_analysis_is_that_of_the_same_study_as_a_file(analytics: Stub, expected: Any) -> None:
    answers = asked(analytics)
    assert [answer.done for answer in answers] == sorted(answer.done for answer in answers)
    assert answers[-1].done == answers[-1].total > 0
    parts = parts_of(answers)
    assert list(parts) == list(EXAMPLE["input"]["categories"])
    of_practice = {
        "accuracy_by_explanation",
        "right_for_the_wrong_reason",
        "right_for_the_wrong_reason_n",
        "reasons",
    }  # told by the services alone
    for category, part in parts.items():
        wanted = expected["expected"][category]
        for examples in ("explanation_summary_table4_style", "explanation_summary_section33_style"):
            for rows in [*part["expected"][examples].values(), *wanted[examples].values()]:
                for row in rows:
                    row.pop("examples")  # ids of images, which are hashes here
        assert part["expected"].keys() == wanted.keys()
        for key in wanted.keys() - of_practice:
            assert part["expected"][key] == wanted[key], key
        assert part["other_measures"] == expected["other_measures_on_commonly_named"][category]
    assert (answers[-1].category, answers[-1].json) == ("", "")


def test_progress_is_told_while_a_category_is_being_done(
    analytics: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_PROGRESS_S", 0.0)
    told = [answer.done for answer in asked(analytics, category="p", shuffles=0) if not answer.category]
    assert set(told) >= {0, 1, 2, 3, 4}  # three pairs, and the category


@pytest.mark.parametrize("part", [value for value in pb.AnalysisPart.values() if value])
def test_each_part_can_be_asked_for_alone(analytics: Stub, part: int) -> None:
    whole = parts_of(asked(analytics, shuffles=0))
    answers = asked(analytics, shuffles=0, parts=[part])
    assert answers[-1].json == ""
    for category, found in parts_of(answers).items():
        assert found["expected"].keys() - {"n", "warnings", "reasons"} == set(statistics.KEYS[part])
        for key in statistics.KEYS[part]:
            assert found["expected"][key] == whole[category]["expected"][key]
        if part == pb.ANALYSIS_PART_OTHER_MEASURES:
            assert found["other_measures"] == whole[category]["other_measures"]
        else:
            assert "other_measures" not in found


def test_the_parts_together_are_the_whole(analytics: Stub) -> None:
    whole = parts_of(asked(analytics, category="p", shuffles=0))["p"]["expected"]
    known = {key for keys in statistics.KEYS.values() for key in keys}
    assert whole.keys() - {"n", "warnings", "reasons"} == known


def test_parts_without_pairs_compare_none(analytics: Stub) -> None:
    answers = asked(analytics, parts=[pb.ANALYSIS_PART_PURITY, pb.ANALYSIS_PART_NAMED_BY])
    assert answers[-1].total == len(EXAMPLE["input"]["categories"])


def test_a_reason_comes_with_its_part(analytics: Stub) -> None:
    found = parts_of(asked(analytics, parts=[pb.ANALYSIS_PART_PLACES]))["p"]["expected"]
    assert found["concept_places"] is None
    assert found["reasons"] == {"concept_places": "the study does not say where objects lie"}


def test_agreement_of_one_category_is_the_worked_examples(analytics: Stub) -> None:
    request = pb.GetAgreementRequest(study_id=STUDY_ID, category="p", shuffles=0)
    found = json.loads(analytics.GetAgreement(request, timeout=DEADLINE_S).json)
    assert list(found) == ["p"]
    wanted = by_display_names(EXAMPLE["expected"]["p"])
    renamed = {key.replace("A", "name of A"): pair for key, pair in wanted["pairs"].items()}
    assert found["p"]["pairs"].keys() == renamed.keys()
    for key, pair in renamed.items():
        told = found["p"]["pairs"][key]
        assert_shares(told["jaccard"], pair["jaccard"])
        for kind in ("one_to_one", "one_to_many", "biclique"):
            assert told[kind]["weight"] == told[kind]["upper_bound"] == pair[kind]["weight"]
            assert told[kind]["status"] == "optimal"
            assert_shares(told[kind]["agreement"], pair[kind]["agreement"])
            edges = {(one, other) for part in told[kind]["sets"] for one in part[0] for other in part[1]}
            optima = [{tuple(edge) for edge in edges} for edges in pair[kind]["optimal_edge_sets"]]
            assert edges in optima
            assert told[kind]["several_optima"] is (len(optima) > 1)
            for fit in ("exact", "subset"):
                low, high = (end["value"] for end in pair[kind][f"{fit}_compat_range"])
                assert low - 1e-6 <= told[kind][f"{fit}_compat"]["value"] <= high + 1e-6
    for key in ("jaccard", "one_to_one", "one_to_many", "biclique"):
        spread = wanted["pair_summary"][key]
        for name in spread.keys() & found["p"]["pair_summary"][key].keys():
            assert found["p"]["pair_summary"][key][name] == pytest.approx(spread[name], abs=1e-6)


def assert_shares(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found["value"] == pytest.approx(wanted["value"], abs=1e-6)
    assert Fraction(found["numerator"], found["denominator"]) == Fraction(wanted["fraction"])


def test_agreement_of_all_categories_comes_in_pages(analytics: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    analysed: list[str] = []
    monkeypatch.setattr(
        statistics,
        "analyse_category",
        lambda file, chosen, name, going_on: (
            analysed.append(name) or category_analysis.analyse_category(file, chosen, name, going_on)
        ),
    )
    request = pb.GetAgreementRequest(study_id=STUDY_ID, shuffles=0)
    whole = analytics.GetAgreement(request, timeout=DEADLINE_S)
    assert whole.next_page_token == ""
    monkeypatch.setattr(statistics, "_PAGE_BYTES", 1)
    found: dict[str, Any] = {}
    for category in EXAMPLE["input"]["categories"]:
        page = analytics.GetAgreement(request, timeout=DEADLINE_S)
        assert list(json.loads(page.json)) == [category]
        found |= json.loads(page.json)
        request.page_token = page.next_page_token
    assert request.page_token == ""
    assert found == json.loads(whole.json)
    assert analysed == [*EXAMPLE["input"]["categories"]] * 2  # none twice for the sake of a page


@pytest.mark.parametrize("rpc", ["GetAgreement", "GetConsensus"])
def test_an_analysis_ends_when_its_caller_has_left(
    analytics: Stub, monkeypatch: pytest.MonkeyPatch, rpc: str
) -> None:
    begun, gone, ended = Event(), Event(), Event()
    pairs: list[int] = []
    pair_agreement, analyse_category = category_analysis.pair_agreement, category_analysis.analyse_category

    def until_it_has_gone(*arguments: Any) -> Any:
        pairs.append(1)
        begun.set()
        gone.wait(DEADLINE_S)
        return pair_agreement(*arguments)

    def watched(*arguments: Any) -> Any:
        try:
            return analyse_category(*arguments)
        finally:
            ended.set()

    def while_asked(context: grpc.ServicerContext) -> Any:
        context.add_callback(gone.set)
        return statistics.while_asked(context)

    monkeypatch.setattr(category_analysis, "pair_agreement", until_it_has_gone)
    monkeypatch.setattr(service, "while_asked", while_asked)
    for module in (service, statistics):
        monkeypatch.setattr(module, "analyse_category", watched)
    request = getattr(pb, f"{rpc}Request")(study_id=STUDY_ID, category="p")
    call = getattr(analytics, rpc).future(request, timeout=DEADLINE_S)
    assert begun.wait(DEADLINE_S)
    call.cancel()
    assert ended.wait(DEADLINE_S)
    assert len(pairs) == 1  # of three


@pytest.mark.parametrize("token", ["nonsense", make_token(-1), make_token(99)])
def test_a_page_token_of_another_list_is_refused(analytics: Stub, token: str) -> None:
    request = pb.GetAgreementRequest(study_id=STUDY_ID, shuffles=0, page_token=token)
    assert refusal(analytics.GetAgreement, request)[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_consensus_is_one_categorys(analytics: Stub, expected: Any) -> None:
    request = pb.GetConsensusRequest(study_id=STUDY_ID, category="p")
    found = json.loads(analytics.GetConsensus(request, timeout=DEADLINE_S).json)
    assert found == expected["expected"]["p"]["consensus"]
    code, message = refusal(
        analytics.GetConsensus, pb.GetConsensusRequest(study_id=STUDY_ID, category="none")
    )
    assert code is grpc.StatusCode.NOT_FOUND
    assert "no category 'none'" in message


@pytest.mark.parametrize("annotators", [[], ["A1"]])
def test_few_annotators_are_no_error(analytics: Stub, world: World, annotators: list[str]) -> None:
    world.annotators[:] = annotators
    answers = asked(analytics)
    assert parts_of(answers)["p"]["expected"]["pairs"] == {}
    assert not any("NaN" in answer.json for answer in answers)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"shuffles": -1}, "shuffles -1: use 0"),
        ({"shuffles": 100_001}, "to 100000"),
        ({"seed": -1}, "seed -1: use 0 or more"),
        ({"time_limit_s": 0}, "time_limit_s 0.0: use more than 0"),
        ({"time_limit_s": 4000}, "to 3600"),
        ({"confidence": 1}, "confidence 1.0: use more than 0 and less than 1"),
        ({"parts": [pb.ANALYSIS_PART_PURITY, 99]}, r"parts [99]: use values of AnalysisPart"),
        ({"parts": [pb.ANALYSIS_PART_UNSPECIFIED]}, r"parts [0]: use values of AnalysisPart"),
    ],
)
def test_options_that_cannot_be_are_refused(analytics: Stub, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        asked(analytics, **fields)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in caught.value.details()


def test_an_analysis_of_an_unknown_category_lists_the_known(analytics: Stub) -> None:
    with pytest.raises(grpc.RpcError, match="no category 'none'; it has 'p', 'q'"):
        asked(analytics, category="none")


def test_the_confidence_of_intervals_is_the_one_asked_for(analytics: Stub, world: World) -> None:
    world.predicted = dict.fromkeys(world.categories["p"]["images"], "p")
    parts = [pb.ANALYSIS_PART_ACCURACY]
    wide, narrow = (
        parts_of(asked(analytics, category="p", parts=parts, confidence=confidence))["p"]["expected"]
        for confidence in (0.99, 0.5)
    )
    ends = [found["accuracy_by_explanation"]["name of A1"][0]["interval"][0] for found in (wide, narrow)]
    assert ends[0] < ends[1]


def test_parts_by_wordnet_count_as_subsets_where_asked_for(
    analytics: Stub, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked_for = {"category": "p", "parts": [pb.ANALYSIS_PART_AGREEMENT], "shuffles": 0}
    monkeypatch.setattr(service, "_parts_of", lambda _file: Parts(EYE_OF_HEAD.splitlines()))
    world.overrulings = False

    def outcome(**fields: Any) -> str:
        labels = parts_of(asked(analytics, **asked_for, **fields))["p"]["expected"]["labels"]
        return next(one["outcome"] for one in labels if set(one["labels"]) == {"Head", "Eye"})

    assert outcome() == "none"
    assert outcome(part_of=True) == "subset"


def test_without_wordnet_parts_are_refused_with_the_way_out(
    analytics: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(service, "_parts_of", lambda _file: read_parts(tmp_path / "data.noun"))
    request = pb.GetAgreementRequest(study_id=STUDY_ID, part_of=True)
    code, message = refusal(analytics.GetAgreement, request)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "install Debian's wordnet-base" in message
    assert "ONOMA_WORDNET" in message


def test_a_large_study_is_analysed_in_processes_and_the_same_comes_out(
    analytics: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = parts_of(asked(analytics, shuffles=6))
    monkeypatch.setattr(analysis, "_MANY_PAIRS", 1)
    asked_of: list[int] = []
    monkeypatch.setattr(
        service,
        "processes_for",
        lambda file, cores: asked_of.append(analysis.processes_for(file, cores)) or 2,
    )
    assert parts_of(asked(analytics, shuffles=6)) == alone
    assert asked_of == [min(cores(), 2)]


def test_where_objects_lie_is_told_by_bounding_boxes(analytics: Stub, world: World) -> None:
    for content in world.categories.values():
        for name in content["images"]:
            world.boxes[name] = (0, 0, 3, 2)  # a quarter of the picture; the maps are the same everywhere
    places = parts_of(asked(analytics, shuffles=0))["p"]["expected"]["concept_places"]
    found = [place for of_annotator in places.values() for place in of_annotator]
    assert found
    for place in found:
        assert place["inside"] == pytest.approx(0.25)
        assert place["outside"] is True


def test_each_picture_says_by_its_own_box_or_points_where_its_object_is(
    analytics: Stub, world: World
) -> None:
    first, *others = world.categories["p"]["images"]  # the first says nothing
    for name in others[:2]:
        world.boxes[name] = (0, 0, 3, 2)
    for name in others[2:]:
        world.points[name] = [(1.5, 1)]  # the middle of one of four cells
    request = pb.AnalyseStudyRequest(study_id=STUDY_ID, shuffles=0)
    answer = next(a for a in analytics.AnalyseStudy(request, timeout=DEADLINE_S) if a.category == "p")
    places = json.loads(answer.json)["expected"]["concept_places"]["name of A1"]
    activations = world.categories["p"]["activations"]
    for concept in world.namings["A1"]["p"]["concepts"]:
        images = [activations[id_][0] for id_ in concept["activations"]]
        place = next(one for one in places if one["name"] == concept["name"])
        assert place["inside"] == pytest.approx(0.25)
        assert place["n"] <= len([name for name in images if name != first])
        assert place["n_by_points"] == len([name for name in images if name in others[2:]])
