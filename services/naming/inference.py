"""What naming asks the inference service: whether a study's model, data set and xNNs fit."""

from onoma.v1 import inference_pb2
from onoma.v1 import naming_pb2 as pb
from onoma.v1.inference_pb2_grpc import InferenceServiceStub
from services.naming.names import shown
from services.runtime.errors import InvalidArgument, some_of
from services.runtime.peers import asking

_TIMEOUT_S = 5.0  # each call


def check_fits(inference: InferenceServiceStub, request: pb.CreateStudyRequest) -> None:
    """Returns when the study can be made of what inference holds; one without xNNs is to have imported maps.

    Raises:
        grpc.RpcError: inference knows no such model, data set or set of xNNs.
        InvalidArgument: they do not fit each other, or a category is missing from one.
        Unavailable: inference does not answer.
    """
    with asking("inference"):
        model = inference.GetModel(
            inference_pb2.GetModelRequest(name=request.model), timeout=_TIMEOUT_S
        ).model
        dataset = inference.GetDataset(
            inference_pb2.GetDatasetRequest(name=request.dataset), timeout=_TIMEOUT_S
        ).dataset
        xnn_set = (
            inference.GetXnnSet(
                inference_pb2.GetXnnSetRequest(name=request.xnn_set), timeout=_TIMEOUT_S
            ).xnn_set
            if request.xnn_set
            else None
        )
    holders = [
        (f"model {shown(model.name)} has no class", list(model.classes)),
        (f"data set {shown(dataset.name)} has no class", list(dataset.classes)),
    ]
    if xnn_set is not None:
        if xnn_set.model != model.name:
            raise InvalidArgument(
                f"set of xNNs {shown(xnn_set.name)} explains model {shown(xnn_set.model)}, not {shown(model.name)}"
            )
        explained = [xnn.class_name for xnn in xnn_set.xnns]
        holders.append((f"set of xNNs {shown(xnn_set.name)} has no xNN of class", explained))
    for category in request.categories:
        for what, classes in holders:
            if category not in classes:
                known = some_of([shown(name) for name in classes]) or "none"
                raise InvalidArgument(f"{what} {shown(category)}; it has {known}")
