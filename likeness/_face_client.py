"""What a client can do with the faceswap service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from likeness import _convert as convert
from likeness import _face_requests as requests
from likeness._client_base import ClientBase
from likeness._face_calls import FaceCalls
from likeness._messages import ImageSource
from likeness.calls import CallOptions
from likeness.face_models import FaceModel, FaceModelBuild, FaceModelPage
from likeness.faceswap.v1 import face_model_service_pb2 as models
from likeness.faceswap.v1 import faceswap_service_pb2 as faceswap
from likeness.results import Comparison, Faces, FaceSwapCapabilities, SwapResult


class FaceMethods(ClientBase):
    """Faces, swaps and face models."""

    _faces: FaceCalls

    async def send_detect_faces(
        self, request: faceswap.DetectFacesRequest, options: CallOptions | None = None
    ) -> Faces:
        """Send a message of the contract. Raises LikenessError."""
        return convert.faces(await self._faces.detect(request, options or self._default))

    async def detect_faces(
        self,
        image: ImageSource,
        *,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> Faces:
        """Find the faces of a picture.

        ``arguments``: min_score (0.1–0.99), order, thorough (false), and drawing: the format in which to answer with
        the picture and the faces drawn on it. Raises LikenessError.
        """
        request = requests.detect_request(image, **arguments)
        return await self.send_detect_faces(request, self._options(options, timeout_seconds))

    async def send_swap(self, request: faceswap.SwapRequest, options: CallOptions | None = None) -> SwapResult:
        """Send a message of the contract. Raises LikenessError."""
        return convert.swap_result(await self._faces.swap(request, options or self._default))

    async def swap(
        self,
        target_image: ImageSource,
        reference_image: ImageSource | None = None,
        *,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> SwapResult:
        """Put the face of a reference, of a face model or of several references onto a target picture.

        ``arguments``: face_model_id or references (pictures and `Reference`) in place of ``reference_image``;
        target_face_indexes or all_target_faces, target_order, target_gender, match_image, match_threshold (−1–1);
        reference_face_index or reference_face_indexes, reference_order, reference_gender; pairing, swap_weight (0–1),
        restore_face (true), restore_model, restore_visibility and restore_fidelity (0–1), engine, pixel_boost,
        min_score (0.1–0.99), thorough (false), output_format, quality (1–100) and store.
        Raises LikenessError.
        """
        request = requests.swap_request(target_image, reference_image, **arguments)
        return await self.send_swap(request, self._options(options, timeout_seconds))

    async def send_compare_faces(
        self, request: faceswap.CompareFacesRequest, options: CallOptions | None = None
    ) -> Comparison:
        """Send a message of the contract. Raises LikenessError."""
        return convert.comparison(await self._faces.compare(request, options or self._default))

    async def compare_faces(
        self,
        first_image: ImageSource,
        second_image: ImageSource,
        *,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> Comparison:
        """Tell how alike two faces are, the largest of each picture unless an index says which.

        ``arguments``: first_face_index, second_face_index, order and min_score (0.1–0.99). Raises LikenessError.
        """
        request = requests.compare_request(first_image, second_image, **arguments)
        return await self.send_compare_faces(request, self._options(options, timeout_seconds))

    async def send_build_face_model(
        self, request: models.BuildFaceModelRequest, options: CallOptions | None = None
    ) -> FaceModelBuild:
        """Send a message of the contract. Raises LikenessError."""
        return convert.face_model_build(await self._faces.build_model(request, options or self._default))

    async def build_face_model(
        self,
        face_model_id: str,
        images: Sequence[ImageSource],
        *,
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
        **arguments: Any,
    ) -> FaceModelBuild:
        """Build a face model from 1–20 photos of one person and keep it.

        ``arguments``: average ("mean", "median"), min_score (0.1–0.99) and replace. Raises LikenessError.
        """
        request = requests.build_face_model_request(face_model_id, images, **arguments)
        return await self.send_build_face_model(request, self._options(options, timeout_seconds))

    async def list_face_models(
        self,
        *,
        page_size: int = 0,
        page_token: str = "",
        options: CallOptions | None = None,
        timeout_seconds: float | None = None,
    ) -> FaceModelPage:
        """Return a page of the face models, by name. Raises LikenessError."""
        request = requests.list_face_models_request(page_size, page_token)
        return convert.face_model_page(await self._faces.list_models(request, self._options(options, timeout_seconds)))

    async def get_face_model(
        self, face_model_id: str, *, options: CallOptions | None = None, timeout_seconds: float | None = None
    ) -> FaceModel:
        """Describe a face model. Raises LikenessError."""
        request = models.GetFaceModelRequest(face_model_id=face_model_id)
        answer = await self._faces.get_model(request, self._options(options, timeout_seconds))
        return convert.face_model(answer.face_model)

    async def delete_face_model(
        self, face_model_id: str, *, options: CallOptions | None = None, timeout_seconds: float | None = None
    ) -> None:
        """Remove a face model. Raises LikenessError."""
        request = models.DeleteFaceModelRequest(face_model_id=face_model_id)
        await self._faces.delete_model(request, self._options(options, timeout_seconds))

    async def faceswap_capabilities(self, options: CallOptions | None = None) -> FaceSwapCapabilities:
        """Tell what the faceswap service can do. Raises LikenessError."""
        answer = await self._faces.capabilities(faceswap.GetCapabilitiesRequest(), options or self._default)
        return convert.faceswap_capabilities(answer)
