"""Protobuf messages of the contract into the client's typed results."""

from __future__ import annotations

from datetime import UTC

from likeness import face_models as m
from likeness import results as r
from likeness.common.v1 import image_pb2, progress_pb2
from likeness.faceswap.v1 import face_model_service_pb2 as models
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.generator.v1 import generator_service_pb2 as generator

GENDERS = {faceswap.GENDER_FEMALE: r.Gender.FEMALE, faceswap.GENDER_MALE: r.Gender.MALE}
SKIP_REASONS = {
    faceswap.SKIP_REASON_GENDER: r.SkipReason.GENDER,
    faceswap.SKIP_REASON_NO_MATCH: r.SkipReason.NO_MATCH,
    faceswap.SKIP_REASON_NOT_ASKED: r.SkipReason.NOT_ASKED,
    faceswap.SKIP_REASON_TOO_SMALL: r.SkipReason.TOO_SMALL,
    faceswap.SKIP_REASON_TURNED_TOO_FAR: r.SkipReason.TURNED_TOO_FAR,
}
AVERAGES = {
    models.FACE_MODEL_AVERAGE_MEAN: m.FaceModelAverage.MEAN,
    models.FACE_MODEL_AVERAGE_MEDIAN: m.FaceModelAverage.MEDIAN,
}
REJECTIONS = {
    models.PHOTO_REJECTION_NO_FACE: m.PhotoRejection.NO_FACE,
    models.PHOTO_REJECTION_SEVERAL_FACES: m.PhotoRejection.SEVERAL_FACES,
    models.PHOTO_REJECTION_TOO_SMALL: m.PhotoRejection.TOO_SMALL,
    models.PHOTO_REJECTION_BLURRED: m.PhotoRejection.BLURRED,
    models.PHOTO_REJECTION_OUTLIER: m.PhotoRejection.OUTLIER,
    models.PHOTO_REJECTION_TURNED_TOO_FAR: m.PhotoRejection.TURNED_TOO_FAR,
}


def picture(message: image_pb2.Image) -> r.Picture:
    """Return a picture of an answer."""
    stored = message.WhichOneof("source") == "artifact_uri"
    return r.Picture(
        media_type=message.media_type,
        width=message.width,
        height=message.height,
        sha256=message.sha256,
        data=None if stored else message.data,
        artifact_uri=message.artifact_uri if stored else None,
    )


def model(message: progress_pb2.ModelInfo) -> r.ModelInfo:
    """Return the weights that made an answer."""
    return r.ModelInfo(
        message.name,
        message.revision,
        message.profile,
        message.precision,
        message.device,
        message.offload,
        message.compiled,
        message.step_cache,
        message.guidance_device,
    )


def timings(message: progress_pb2.Timings) -> r.Timings:
    """Return where the time went, in seconds."""
    return r.Timings(
        queue_seconds=message.queue.ToTimedelta().total_seconds(),
        encode_seconds=message.encode.ToTimedelta().total_seconds(),
        denoise_seconds=message.denoise.ToTimedelta().total_seconds(),
        decode_seconds=message.decode.ToTimedelta().total_seconds(),
        total_seconds=message.total.ToTimedelta().total_seconds(),
    )


def finished(message: generator.GenerateFinished) -> r.Finished:
    """Return how pictures were made."""
    return r.Finished(
        seed=message.seed,
        width=message.width,
        height=message.height,
        mode=message.mode,
        steps=message.steps,
        true_cfg_scale=message.true_cfg_scale,
        timings=timings(message.timings),
        model=model(message.model),
        loras=tuple(
            r.LoraUse(lora.lora_id, lora.version, lora.strength if lora.HasField("strength") else 1.0)
            for lora in message.loras
        ),
    )


def event(message: generator.GenerateResponse) -> r.GenerationEvent | None:
    """Return one event of a drawing; None for a kind that this client does not know yet."""
    match message.WhichOneof("event"):
        case "queued":
            return r.Queued(message.queued.position)
        case "started":
            return r.Started(message.started.queued.ToTimedelta().total_seconds())
        case "step":
            return r.Step(message.step.image_index, message.step.step, message.step.total_steps)
        case "preview":
            preview = message.preview
            return r.Preview(preview.image_index, preview.step, preview.total_steps, picture(preview.image))
        case "image":
            return r.GeneratedPicture(message.image.index, message.image.seed, picture(message.image.image))
        case "finished":
            return finished(message.finished)
        case _:
            return None


def face(message: faceswap.Face) -> r.Face:
    """Return one face of a picture."""
    return r.Face(
        index=message.index,
        box=r.Box(message.box.x, message.box.y, message.box.width, message.box.height),
        score=message.score,
        landmarks=tuple((point.x, point.y) for point in message.landmarks),
        yaw=message.pose.yaw,
        pitch=message.pose.pitch,
        roll=message.pose.roll,
        gender=GENDERS.get(message.gender, r.Gender.UNKNOWN),
        gender_score=message.gender_score,
        age_years=message.age_years,
        sharpness=message.sharpness,
    )


def faces(message: faceswap.DetectFacesResponse) -> r.Faces:
    """Return the faces of a picture."""
    return r.Faces(
        tuple(face(item) for item in message.faces),
        message.width,
        message.height,
        picture(message.drawing) if message.HasField("drawing") else None,
    )


def swapped_face(message: faceswap.SwappedFace) -> r.SwappedFace:
    """Return what was done to one face."""

    def optional(name: str) -> float | None:
        return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]

    return r.SwappedFace(
        target_face_index=message.target_face_index,
        identity_before=message.identity_before,
        identity_after=optional("identity_after"),
        seam_ratio=message.seam_ratio,
        pose_change_degrees=optional("pose_change_degrees"),
        mouth_openness_change=optional("mouth_openness_change"),
        eye_openness_change=optional("eye_openness_change"),
        mouth_curve_change=optional("mouth_curve_change"),
        reference_index=message.reference_index,
        match_score=optional("match_score"),
        restore_visibility=optional("restore_visibility"),
    )


def skipped_face(message: faceswap.SkippedFace) -> r.SkippedFace:
    """Return why one face was left as it is."""
    return r.SkippedFace(
        target_face_index=message.target_face_index,
        reason=SKIP_REASONS.get(message.reason, r.SkipReason.UNKNOWN),
        detail=message.detail,
        match_score=message.match_score if message.HasField("match_score") else None,
    )


def swap_result(message: faceswap.SwapResponse) -> r.SwapResult:
    """Return the changed picture and what was done."""
    times = message.timings
    stages = ("queue", "decode", "analyse", "swap", "score", "encode", "total")
    return r.SwapResult(
        picture=picture(message.image),
        swapped=tuple(swapped_face(item) for item in message.swapped),
        target_faces=tuple(face(item) for item in message.target_faces),
        reference_face=face(message.reference_face),
        engine=message.engine,
        restoration=r.Restoration(message.restoration.applied, message.restoration.reason, message.restoration.model),
        warnings=tuple(message.warnings),
        timings={stage: getattr(times, f"{stage}_milliseconds") / 1000 for stage in stages},
        skipped=tuple(skipped_face(item) for item in message.skipped),
        references=tuple(r.UsedReference(face(item.face), item.face_model_id) for item in message.references),
    )


def comparison(message: faceswap.CompareFacesResponse) -> r.Comparison:
    """Return how alike two faces are."""
    return r.Comparison(message.identity, face(message.first_face), face(message.second_face))


def mode(message: generator.Mode) -> r.Mode:
    """Return a mode."""
    return r.Mode(
        message.name,
        message.default_steps,
        message.default_true_cfg_scale,
        message.distilled_lora,
        message.adjustable,
        message.default_negative_prompt,
        message.step_cache,
    )


def generator_capabilities(message: generator.GetCapabilitiesResponse) -> r.GeneratorCapabilities:
    """Return what the generator can do."""
    return r.GeneratorCapabilities(
        model=model(message.model),
        modes=tuple(map(mode, message.modes)),
        sizes=tuple(r.Size(size.aspect_ratio, size.width, size.height) for size in message.sizes),
        size_multiple=message.size_multiple,
        min_pixels=message.min_pixels,
        max_pixels=message.max_pixels,
        max_count=message.max_count,
        max_prompt_tokens=message.max_prompt_tokens,
        queue_capacity=message.queue_capacity,
        max_loras=message.max_loras,
        max_lora_rank=message.max_lora_rank,
        max_total_lora_rank=message.max_total_lora_rank,
        max_lora_bytes=message.max_lora_bytes,
    )


def faceswap_capabilities(message: faceswap.GetCapabilitiesResponse) -> r.FaceSwapCapabilities:
    """Return what the faceswap service can do."""
    return r.FaceSwapCapabilities(
        model=model(message.model),
        engines=tuple(message.engines),
        restorers=tuple(message.restorers),
        max_pose_degrees=message.max_pose_degrees,
        min_reference_face_pixels=message.min_reference_face_pixels,
        min_target_face_pixels=message.min_target_face_pixels,
        queue_capacity=message.queue_capacity,
        max_reference_turn_degrees=message.max_reference_turn_degrees,
        content_check=message.content_check,
        execution_provider=message.execution_provider,
        face_sizes=tuple(message.face_sizes),
    )


def face_model(message: models.FaceModel) -> m.FaceModel:
    """Return a kept face model."""
    return m.FaceModel(
        face_model_id=message.face_model_id,
        create_time=message.create_time.ToDatetime(UTC),
        average=AVERAGES.get(message.average, m.FaceModelAverage.MEAN),
        photo_count=message.photo_count,
        agreement=message.agreement,
        views=tuple(
            m.FaceModelView(
                image_index=view.image_index,
                yaw=view.pose.yaw,
                pitch=view.pose.pitch,
                roll=view.pose.roll,
                width_pixels=view.width_pixels,
                sharpness=view.sharpness,
                similarity=view.similarity,
            )
            for view in message.views
        ),
        engines=tuple(message.engines),
        sha256=message.sha256,
        size_bytes=message.size_bytes,
    )


def face_model_build(message: models.BuildFaceModelResponse) -> m.FaceModelBuild:
    """Return a built model and what became of its photos."""
    return m.FaceModelBuild(
        face_model(message.face_model),
        tuple(
            m.PhotoReport(
                image_index=photo.image_index,
                used=photo.used,
                rejection=None if photo.used else REJECTIONS.get(photo.rejection, m.PhotoRejection.UNKNOWN),
                detail=photo.detail,
                face=face(photo.face) if photo.HasField("face") else None,
                similarity=photo.similarity if photo.HasField("similarity") else None,
            )
            for photo in message.photos
        ),
    )


def face_model_page(message: models.ListFaceModelsResponse) -> m.FaceModelPage:
    """Return a page of models."""
    return m.FaceModelPage(tuple(face_model(item) for item in message.face_models), message.next_page_token)
