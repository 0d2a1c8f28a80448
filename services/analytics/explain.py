"""One picture's explanation in an annotator's words."""

import hashlib
from collections.abc import Iterable

from onoma.science.pictures import encode_png
from onoma.science.summary import Reading, explanation, inferred_names, names_of_activations
from onoma.v1 import attribution_pb2, inference_pb2, types_pb2
from onoma.v1.analytics_pb2 import ExplainedActivation, ExplainImageResponse
from services.analytics.study import Activation, ExplainedImage, StudyReader, naming_of
from services.runtime.decoding import Decoders
from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.peers import asking


def explain_image(
    reader: StudyReader,
    annotator_id: str,
    image_id: str,
    content: bytes,
    category: str,
    decoders: Decoders,
) -> ExplainImageResponse:
    """Explains an image of the study by its id, or any file by its bytes.

    A file whose SHA-256 is an image of the study is that image. For every other picture
    attribution is asked on the spot, and each significant X-feature bears the name that the
    annotator gave most often to named activations of the same category and X-feature [ours]:
    the name is inferred, `name_support` is the share that bears it, and `in_study` is false.
    Names are those of concepts that cleaning keeps, so that they agree with the summary.

    Raises:
        InvalidArgument: not exactly one of image and content, a file that is no picture, or an
            image that the study explains for several categories when none is given.
        NotFound: unknown annotator, category or image.
        FailedPrecondition: the study's maps were imported, and the picture is none of its images.
    """
    if bool(image_id) == bool(content):
        raise InvalidArgument("give either the image_id of a stored image or the content of a file")
    annotator_id = reader.annotator(annotator_id).annotator_id
    image_id = image_id or hashlib.sha256(content).hexdigest()
    image = _image_of_study(reader.images(category), image_id)
    if image is not None:
        return _explain_stored(reader, annotator_id, image)
    return _explain_other(reader, annotator_id, image_id, content, category, decoders)


def _image_of_study(images: Iterable[ExplainedImage], image_id: str) -> ExplainedImage | None:
    found = [image for image in images if image.image_id == image_id]
    if len(found) > 1:
        categories = ", ".join(f"'{image.category}'" for image in found)
        raise InvalidArgument(f"image '{image_id}' is explained for {categories}; say for which category")
    return found[0] if found else None


def _explain_stored(reader: StudyReader, annotator_id: str, image: ExplainedImage) -> ExplainImageResponse:
    study = reader.read(image.category, [annotator_id])
    activations = [a for a in reader.activations(image.category) if a.image_id == image.image_id]
    activations.sort(key=lambda activation: -activation.share)
    category = study.categories[image.category]
    names_by_id = dict(
        zip(
            category.activation_ids,
            names_of_activations(naming_of(study, image.category, annotator_id)),
            strict=True,
        )
    )
    names = [names_by_id[activation.activation_id] for activation in activations]
    return ExplainImageResponse(
        category=image.category,
        predicted_class=image.predicted_class,
        names=explanation(names, Reading.WITH_OTHER),
        activations=[
            ExplainedActivation(activation_id=a.activation_id, name=name or "", share=a.share)
            for a, name in zip(activations, names, strict=True)
        ],
        maps=_maps(reader, activations),
        model_input_png=_stored_picture(reader, image.image_id, inference_pb2.IMAGE_VIEW_MODEL_INPUT),
        in_study=True,
        provenance=_provenance(reader),
    )


def _explain_other(
    reader: StudyReader,
    annotator_id: str,
    image_id: str,
    content: bytes,
    category: str,
    decoders: Decoders,
) -> ExplainImageResponse:
    _check_computed(reader)
    content = content or _stored_picture(reader, image_id, inference_pb2.IMAGE_VIEW_ORIGINAL)
    seen = _model_input_png(reader, content, decoders)
    request = attribution_pb2.AttributeRequest(
        model=reader.study.model,
        xnn_set=reader.study.xnn_set,
        categories=[category] if category else [],
        content=content,
        contrastive=reader.study.settings.contrastive,
        significant_share=reader.study.settings.significant_share,
    )
    with asking("attribution"):
        live = reader.peers.attribution.Attribute(request, timeout=reader.timeout_s)
    category = live.image.category[0]
    inferred = {}
    if category in reader.study.categories:
        study = reader.read(category, [annotator_id])
        inferred = inferred_names(study.categories[category], naming_of(study, category, annotator_id))
    names = [inferred.get(x_feature) for x_feature in live.activations.x_feature]
    return ExplainImageResponse(
        category=category,
        predicted_class=live.image.predicted_class[0],
        names=explanation([name and name.name for name in names], Reading.WITH_OTHER),
        activations=[
            ExplainedActivation(name=name.name, share=share, name_support=name.support)
            if name
            else ExplainedActivation(share=share)
            for name, share in zip(names, live.activations.share, strict=True)
        ],
        maps=live.maps,
        model_input_png=seen,
        in_study=False,
        provenance=live.provenance,
    )


def _check_computed(reader: StudyReader) -> None:
    """Refuses where units are not those of an xNN: nothing here could draw their maps."""
    made_by = _provenance(reader)
    if made_by.archive_hash:
        raise FailedPrecondition(
            f"the maps of study '{reader.study.name}' were imported ({made_by.method}), so that only its own images "
            "can be explained; import maps of this picture into a new study",
            "MAPS_IMPORTED",
        )


def _provenance(reader: StudyReader) -> attribution_pb2.MapProvenance:
    request = attribution_pb2.GetMapProvenanceRequest(study_id=reader.study.study_id)
    with asking("attribution"):
        return reader.peers.attribution.GetMapProvenance(request, timeout=reader.timeout_s).provenance


def _maps(reader: StudyReader, activations: list[Activation]) -> types_pb2.MapColumns:
    maps = types_pb2.MapColumns()
    if not activations:
        return maps
    request = attribution_pb2.GetMapsRequest(
        study_id=reader.study.study_id,
        activation_ids=[activation.activation_id for activation in activations],
    )
    with asking("attribution"):
        for response in reader.peers.attribution.GetMaps(request, timeout=reader.timeout_s):
            values = maps.values + response.maps.values
            maps.MergeFrom(response.maps)
            maps.values = values
    return maps


def _stored_picture(reader: StudyReader, image_id: str, view: inference_pb2.ImageView) -> bytes:
    request = inference_pb2.GetImageRequest(image_id=image_id, view=view, model=reader.study.model)
    with asking("inference"):
        return reader.peers.inference.GetImage(request, timeout=reader.timeout_s).content


def _model_input_png(reader: StudyReader, content: bytes, decoders: Decoders) -> bytes:
    return encode_png(decoders.seen(content, reader.preprocessing()))
