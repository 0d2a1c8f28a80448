"""The routes of the gateway: a table of those that are one RPC each, and a description of
the few that are written by hand. The OpenAPI document is made of both (schema.py).
An RPC that streams its answers comes as server-sent events, one a message.

A route's request is the RPC's request message: fields named in the path come from the
path, the others from the query (GET) or the JSON body (POST).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from services.gateway.backends import method_of
from services.runtime.access import TABLE, Reach


class Access(enum.Enum):
    """Who may call a route."""

    OWNER = "The owner: signed in, or at the server's own machine where nobody else can reach the page."
    OTHERS = (
        "The owner; by the cookie of the invitation a viewer of the study, or an annotator of one that is closed or "
        "not blind."
    )
    RESULTS = (
        "The owner; by the cookie of the invitation a viewer of the study, or an annotator of one that is closed: "
        "results tell what belongs to which X-feature, which nobody who still names may see."
    )
    ANNOTATOR = "The annotator in the path, by the cookie of the invitation."
    ANYONE = "Anyone."


_ACCESS = {
    Reach.NOTHING: Access.OWNER,
    Reach.STUDY: Access.ANNOTATOR,
    Reach.NAMING: Access.ANNOTATOR,
    Reach.OWN_NAMING: Access.ANNOTATOR,
    Reach.OTHERS: Access.OTHERS,
    Reach.RESULTS: Access.RESULTS,
}


@dataclass(frozen=True)
class Route:
    """One RPC over HTTP."""

    method: str
    path: str
    backend: str
    rpc: str
    timeout_s: float = 10.0
    # Fields of the request that are the owner's alone: others could keep a service busy by them.
    owners_fields: tuple[str, ...] = ()
    # Field that names a picture, which for others than the owner has to be one that the study shows.
    picture_field: str = ""
    # Where it is not what the row of the RPC says.
    special_access: Access | None = None

    @property
    def access(self) -> Access:
        """Who may call it: those whom the RPC's row in services/runtime/access.py lets in."""
        method = method_of(self.backend, self.rpc)
        row = TABLE[f"/{method.containing_service.full_name}/{method.name}"]
        return self.special_access or _ACCESS[row.reach]


@dataclass(frozen=True)
class Handwritten:
    """A route that is more than one RPC, as the OpenAPI document describes it."""

    method: str
    path: str
    name: str
    access: Access
    summary: str
    # Full names of messages; empty for no body, or for bytes of `media_type`.
    request: str = ""
    response: str = ""
    # JSON Schema of an answer that is no message.
    schema: dict[str, Any] | None = None
    media_type: str = "application/json"
    query: tuple[str, ...] = ()
    # Those that may be left out, or come several times.
    lists: tuple[str, ...] = ()


STUDY = "/api/studies/{study_id}"
ANNOTATOR = STUDY + "/annotators/{annotator_id}"

ROUTES = (
    Route("GET", "/api/models", "inference", "ListModels"),
    Route("GET", "/api/datasets", "inference", "ListDatasets"),
    Route("GET", "/api/xnn-sets", "inference", "ListXnnSets"),
    Route("GET", "/api/studies", "naming", "ListStudies"),
    Route("POST", "/api/studies", "naming", "CreateStudy", timeout_s=30),
    Route("POST", STUDY + "/maps", "attribution", "ComputeMaps", timeout_s=30),
    # Not ANNOTATOR, as its row has it: the path names none. Annotators get their study by GetInvitation.
    Route("GET", STUDY, "naming", "GetStudy", special_access=Access.OTHERS),
    Route("POST", STUDY + "/open", "naming", "OpenStudy"),
    Route("POST", STUDY + "/close", "naming", "CloseStudy"),
    Route("GET", STUDY + "/annotators", "naming", "ListAnnotators"),
    Route("GET", STUDY + "/events", "naming", "WatchAnnotators", timeout_s=90),
    Route("POST", STUDY + "/annotators", "naming", "InviteAnnotator"),
    Route("POST", ANNOTATOR + "/revoke", "naming", "RevokeInvitation"),
    Route("POST", ANNOTATOR + "/renew", "naming", "RenewInvitation"),
    Route("GET", STUDY + "/coverage", "analytics", "GetCoverage", timeout_s=60),
    Route("GET", STUDY + "/purity", "analytics", "GetPurity", timeout_s=60),
    Route("GET", STUDY + "/agreement", "analytics", "GetAgreement", 600, ("shuffles", "time_limit_s")),
    Route("GET", STUDY + "/consensus", "analytics", "GetConsensus", 600, ("time_limit_s",)),
    Route("GET", ANNOTATOR + "/summary", "analytics", "GetSummary", timeout_s=60),
    Route("GET", ANNOTATOR + "/explanation", "analytics", "ExplainImage", 60, ("content",), "image_id"),
    Route("GET", "/api/attribution/jobs", "attribution_jobs", "ListJobs"),
    Route("GET", "/api/attribution/jobs/{job_id}", "attribution_jobs", "GetJob"),
    Route("GET", ANNOTATOR + "/naming", "naming", "GetNaming"),
    Route("GET", ANNOTATOR + "/naming/events", "naming", "WatchNaming", timeout_s=90),
    Route("POST", ANNOTATOR + "/acts", "naming", "Act"),
    Route("POST", ANNOTATOR + "/similarity", "attribution", "SortBySimilarity"),
)

HANDWRITTEN = (
    Handwritten(
        "POST",
        "/api/invitations",
        "AcceptInvitation",
        Access.ANYONE,
        "Turns the token of a link into a cookie for its annotator.",
        request="onoma.v1.AcceptInvitationRequest",
        response="onoma.v1.AcceptInvitationResponse",
    ),
    Handwritten(
        "GET",
        ANNOTATOR,
        "GetInvitation",
        Access.ANNOTATOR,
        "The study and annotator of a link that this browser has opened before.",
        response="onoma.v1.AcceptInvitationResponse",
    ),
    Handwritten(
        "GET",
        ANNOTATOR + "/activations",
        "ListActivations",
        Access.ANNOTATOR,
        "The significant activations of a category, by id: activation_id, image_id and share; the "
        "other columns are empty. The ETag names the version to ask the maps for.",
        response="onoma.v1.ActivationColumns",
        query=("category",),
    ),
    Handwritten(
        "GET",
        ANNOTATOR + "/maps",
        "GetMaps",
        Access.ANNOTATOR,
        "The maps of these activations in the same order, as a .npy file: n x height x width "
        "unsigned bytes, each map stretched from its own minimum to its own maximum. With activation_id, "
        "at most 500 times, the maps of those, which a screen needs first.",
        media_type="application/octet-stream",
        query=("category", "version"),
        lists=("activation_id",),
    ),
    Handwritten(
        "GET",
        ANNOTATOR + "/images",
        "GetStudyImages",
        Access.ANNOTATOR,
        "What the network saw of at most 96 images that the study explains, in one answer: data: addresses by "
        "image id.",
        schema={"type": "object", "additionalProperties": {"type": "string"}},
        lists=("image_id",),
    ),
    Handwritten(
        "GET",
        ANNOTATOR + "/images/{image_id}",
        "GetStudyImage",
        Access.ANNOTATOR,
        "What the network saw of an image that the study explains; any other is NOT_FOUND.",
        media_type="image/png",
    ),
    Handwritten(
        "GET",
        STUDY + "/images/{image_id}",
        "GetImage",
        Access.RESULTS,
        "What the study's network saw of an image that the study explains; any other is NOT_FOUND.",
        media_type="image/png",
    ),
    Handwritten(
        "GET",
        STUDY + "/report/{file}",
        "GetReport",
        Access.RESULTS,
        "A file of the study's report, which is written where it is not there yet, or anew, for the owner alone, "
        "with ?fresh=1: index.html, report.zip with all files, and those that the page links to.",
        media_type="application/octet-stream",
    ),
    Handwritten(
        "GET",
        STUDY + "/namings.json",
        "GetNamingsJson",
        Access.OTHERS,
        "All namings of the study as one document, which ImportNamings takes.",
    ),
    Handwritten(
        "GET",
        STUDY + "/namings.csv",
        "GetNamingsCsv",
        Access.OTHERS,
        "All namings of the study as a table, one row an activation.",
        media_type="text/csv",
    ),
)
