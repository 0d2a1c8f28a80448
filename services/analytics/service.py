"""The analytics servicer: each method reads a study, calls a statistic and translates its answer."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import grpc

from onoma.science.analysis import processes_for
from onoma.science.category_analysis import analyse_category
from onoma.science.coverage import Coverage, coverage, coverage_by_any
from onoma.science.purity import purity
from onoma.science.study_data import Category, Naming, clean
from onoma.science.summary import Reading, summary
from onoma.science.wordnet import Parts
from onoma.v1 import analytics_pb2 as pb
from onoma.v1 import analytics_pb2_grpc
from onoma.v1.attribution_pb2_grpc import AttributionServiceStub
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from onoma.v1.naming_pb2_grpc import NamingServiceStub
from onoma.wordnet_file import read_parts
from services.analytics.explain import explain_image
from services.analytics.settings import AnalyticsSettings
from services.analytics.statistics import (
    OF_PAIRS,
    agreement_page,
    analysed,
    options,
    parts_of,
    study_file,
    while_asked,
)
from services.analytics.study import Peers, StudyReader, naming_of
from services.runtime.channels import open_channel
from services.runtime.decoding import Decoders
from services.runtime.enums import name_of
from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.paging import make_token, read_token
from services.runtime.server import Service
from services.runtime.settings import RuntimeSettings, read_settings

_parts_of = cache(read_parts)  # WordNet's nouns take a second to read
_LONGEST_CALL_S = 300.0
_PICTURES_AT_ONCE = 2
_READY_S = 2.0


class AnalyticsServicer(analytics_pb2_grpc.AnalyticsServiceServicer):
    """onoma.v1.AnalyticsService. Most methods answer whoever may read the study's results, which are all
    annotators' work (services/runtime/access.py).
    """

    def __init__(self, peers: Peers, settings: AnalyticsSettings, decoders: Decoders) -> None:
        self._decoders = decoders
        self._peers = peers
        self._settings = settings

    def ExplainImage(
        self, request: pb.ExplainImageRequest, context: grpc.ServicerContext
    ) -> pb.ExplainImageResponse:
        reader = self._open(request.study_id, context)
        return explain_image(
            reader,
            request.annotator_id,
            request.image_id,
            request.content,
            request.category,
            self._decoders,
        )

    def GetSummary(
        self, request: pb.GetSummaryRequest, context: grpc.ServicerContext
    ) -> pb.GetSummaryResponse:
        reading = name_of(pb.SummaryReading, request.reading, "reading", unsaid=Reading.NAMED_ONLY.value)
        reader = self._open(request.study_id, context)
        annotator_id = reader.annotator(request.annotator_id).annotator_id
        reader.check_category(request.category)
        study = reader.read(request.category, [annotator_id])
        found = summary(
            study.categories[request.category],
            naming_of(study, request.category, annotator_id),
            Reading(reading),
        )
        return pb.GetSummaryResponse(
            rows=[
                pb.SummaryRow(
                    names=row.names,
                    image_count=len(row.image_ids),
                    share=found.share(row),
                    image_ids=row.image_ids,
                )
                for row in found.rows
            ],
            image_count=found.image_count,
            left_out_count=found.left_out_count,
        )

    def GetCoverage(
        self, request: pb.GetCoverageRequest, context: grpc.ServicerContext
    ) -> pb.GetCoverageResponse:
        study = self._open(request.study_id, context).read(request.category)
        response = pb.GetCoverageResponse()
        for name, category in study.categories.items():
            counts = {
                "category": name,
                "activation_count": len(category.activation_ids),
                "image_count": len(category.image_ids) - category.left_out_count,
                "left_out_count": category.left_out_count,
            }
            for annotator_id in study.annotators:
                naming = study.namings[name].get(annotator_id)
                row = response.coverages.add(annotator_id=annotator_id, **counts)
                if naming is not None:
                    cleaned = clean(category, naming, study.min_concept_images)
                    row.MergeFrom(_shares(coverage(category, cleaned)))
                    row.concept_count = len(cleaned.concept_names)
                    row.removed_concepts.extend(concept.name for concept in cleaned.removed)
            by_any = coverage_by_any(category, study.cleaned(name))
            response.coverages.add(**counts).MergeFrom(_shares(by_any))
        return response

    def GetPurity(self, request: pb.GetPurityRequest, context: grpc.ServicerContext) -> pb.GetPurityResponse:
        study = self._open(request.study_id, context).read(request.category)
        return pb.GetPurityResponse(
            purities=[
                _purity_row(category, naming)
                for name, category in study.categories.items()
                for naming in study.cleaned(name)
            ]
        )

    def GetAgreement(
        self, request: pb.GetAgreementRequest, context: grpc.ServicerContext
    ) -> pb.GetAgreementResponse:
        chosen = options(request)
        reader = self._open(request.study_id, context)
        if request.category:
            reader.check_category(request.category)
        categories = [request.category] if request.category else list(reader.study.categories)
        [start] = read_token(request.page_token, int) if request.page_token else [0]
        if not 0 <= start < len(categories):
            raise InvalidArgument("page_token is not one that this list gave: start without one")
        json_text, next_one = agreement_page(
            reader, categories, start, chosen, self._parts(is_wanted=request.part_of), while_asked(context)
        )
        return pb.GetAgreementResponse(
            json=json_text, next_page_token=make_token(next_one) if next_one < len(categories) else ""
        )

    def GetConsensus(
        self, request: pb.GetConsensusRequest, context: grpc.ServicerContext
    ) -> pb.GetConsensusResponse:
        chosen = replace(options(request), shuffles=0)
        reader = self._open(request.study_id, context)
        reader.check_category(request.category)
        part = analyse_category(
            study_file(reader, request.category, with_places=False),
            chosen,
            request.category,
            while_asked(context),
        )
        return pb.GetConsensusResponse(json=json.dumps(part["expected"]["consensus"]))

    def AnalyseStudy(
        self, request: pb.AnalyseStudyRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.AnalyseStudyResponse]:
        chosen, parts = options(request), parts_of(request)
        file = study_file(
            self._open(request.study_id, context),
            request.category,
            parts_by=self._parts(is_wanted=request.part_of),
            with_places=pb.ANALYSIS_PART_PLACES in parts,
        )
        processes = processes_for(file, self._settings.cores) if parts & OF_PAIRS else 1
        yield from analysed(file, replace(chosen, processes=processes), parts, context)

    def _parts(self, *, is_wanted: bool) -> Parts | None:
        """Parts by WordNet, read once."""
        if not is_wanted:
            return None
        try:
            return _parts_of(self._settings.wordnet)
        except ValueError as error:
            raise FailedPrecondition(f"{error} (ONOMA_WORDNET)") from error

    def _open(self, study_id: str, context: grpc.ServicerContext) -> StudyReader:
        remaining_s = context.time_remaining()
        return StudyReader.open(self._peers, study_id, min(remaining_s or _LONGEST_CALL_S, _LONGEST_CALL_S))


def build(settings: RuntimeSettings) -> Service:
    """The analytics service, reading from the peers that the settings name; it keeps nothing."""
    channels = [
        open_channel(address, settings, "analytics")
        for address in (settings.inference_address, settings.attribution_address, settings.naming_address)
    ]
    inference, attribution, naming = channels
    limits = read_settings(AnalyticsSettings)
    decoders = Decoders(_PICTURES_AT_ONCE, limits.max_image_pixels)
    servicer = AnalyticsServicer(
        Peers(
            InferenceServiceStub(inference),  # type: ignore[no-untyped-call]
            AttributionServiceStub(attribution),  # type: ignore[no-untyped-call]
            NamingServiceStub(naming),  # type: ignore[no-untyped-call]
        ),
        limits,
        decoders,
    )

    def ready() -> None:
        for channel in channels:
            grpc.channel_ready_future(channel).result(timeout=_READY_S)

    def close() -> None:
        decoders.close()
        for channel in channels:
            channel.close()

    return Service(
        name="analytics",
        add_to=lambda server: analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(servicer, server),
        service_names=("onoma.v1.AnalyticsService",),
        close=close,
        ready=ready,
    )


def _shares(found: Coverage) -> pb.Coverage:
    by_one = found.complete_by_one_annotator
    return pb.Coverage(
        activation=found.activation.value,
        partial=found.partial.value,
        complete=found.complete.value,
        complete_by_one_annotator=by_one.value if by_one else None,
    )


def _purity_row(category: Category, naming: Naming) -> pb.Purity:
    found = purity(category, naming)
    return pb.Purity(
        category=category.name,
        annotator_id=naming.annotator,
        cx=found.cx.value,
        xc=found.xc.value,
        named_count=found.cx.denominator,
    )
