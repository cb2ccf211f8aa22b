"""The content check: a classifier of transformers in a folder, here a tiny one with random weights."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from core.faces.arrays import Image
from core.runtime.server import running_service
from core.runtime.settings import SettingsError
from likeness.common.v1 import image_pb2
from likeness.errors import ContentRefused, LikenessError, from_rpc_error
from likeness.faceswap.v1 import face_model_service_pb2 as models
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from likeness.faceswap.v1.face_model_service_pb2_grpc import FaceModelServiceStub
from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceStub
from services.faceswap.content_check import ClassifierCheck, ContentCheckError
from services.faceswap.service import make_spec
from services.faceswap.settings import FaceSwapSettings
from services.faceswap.swapper import FaceSwapper
from tests.support.faces import drawn, png, portrait

if TYPE_CHECKING:
    from likeness.faceswap.v1.face_model_service_pb2_grpc import FaceModelServiceAsyncStub
    from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceAsyncStub


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ViT of one narrow layer that finds every picture equally unsafe."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16,
        id2label={0: "normal", 1: "nsfw"}, label2id={"normal": 0, "nsfw": 1},
    )  # fmt: skip
    model = ViTForImageClassification(config)
    model.classifier.weight.data.zero_()
    model.classifier.bias.data = torch.tensor([0.0, 1.0])
    model.save_pretrained(folder, safe_serialization=True)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_the_odds_of_the_labels_decide(classifier: Path) -> None:
    # softmax(0, 1) is 0.73 for the second label.
    ClassifierCheck(classifier, ["nsfw"], 0.75).check(portrait(), "target_image")
    with pytest.raises(ContentRefused, match=r"nsfw 0\.73, at most 0\.7 is taken") as caught:
        ClassifierCheck(classifier, ["nsfw"], 0.7).check(portrait(), "target_image")
    assert caught.value.field == "target_image"
    with pytest.raises(ContentRefused, match="the result is refused"):
        ClassifierCheck(classifier, ["nsfw", "normal"], 0.99).check(portrait(), None)


def test_the_picture_is_what_is_looked_at(tmp_path: Path, classifier: Path) -> None:
    """With weights that see, a black and a white picture get different odds."""
    torch.manual_seed(1)
    model = ViTForImageClassification.from_pretrained(classifier)
    model.classifier.weight.data.normal_(0, 1)
    model.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    check = ClassifierCheck(tmp_path, ["nsfw"], 1e-9)
    scores = set()
    for shade in (0, 255):
        with pytest.raises(ContentRefused) as caught:
            check.check(np.full((40, 60, 3), shade, dtype=np.uint8), None)
        scores.add(caught.value.metadata["score"])
    assert len(scores) == 2


@pytest.mark.parametrize(
    ("labels", "message"), [(["porn"], "has no porn; it has: normal, nsfw"), ([], "has no label named")]
)
def test_labels_that_the_classifier_does_not_have_are_refused(
    classifier: Path, labels: list[str], message: str
) -> None:
    with pytest.raises(ContentCheckError, match=message):
        ClassifierCheck(classifier, labels, 0.5)


def test_a_folder_that_holds_no_classifier_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContentCheckError, match="cannot be loaded"):
        ClassifierCheck(tmp_path, ["nsfw"], 0.5)
    with pytest.raises(ContentCheckError, match="there is no folder"):
        ClassifierCheck(tmp_path / "nowhere", ["nsfw"], 0.5)


def test_the_threshold_is_a_probability() -> None:
    with pytest.raises(SettingsError, match="content_check_threshold"):
        FaceSwapSettings.load(content_check_threshold=1.5)


def test_without_a_classifier_no_torch_is_loaded() -> None:
    code = "import sys, services.faceswap.service; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Refusing:
    """Refuses the pictures that a test names, as a classifier would."""

    def __init__(self, refuses: Callable[[Image, str | None], bool]) -> None:
        self.refuses = refuses
        self.seen: list[str | None] = []

    def check(self, image: Image, field: str | None) -> None:
        self.seen.append(field)
        if self.refuses(image, field):
            raise ContentRefused("refused", field=field)


def given(image: Image) -> image_pb2.ImageInput:
    return image_pb2.ImageInput(data=png(image))


@pytest.mark.parametrize("refused", ["reference_image", "target_image", None])
async def test_a_refused_picture_or_result_is_a_status_and_never_a_picture(
    swapper: FaceSwapper, tmp_path: Path, refused: str | None
) -> None:
    check = Refusing(lambda image, field: field == refused)
    checked = FaceSwapper(swapper.analyser, [swapper.engine("mesh")], content_check=check)
    settings = FaceSwapSettings.load(port=0, threads=1, artifacts_url=str(tmp_path))
    spec = dataclasses.replace(make_spec(settings), load=lambda: checked)
    async with running_service(spec, settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub: FaceSwapServiceAsyncStub = FaceSwapServiceStub(channel)
        request = pb2.SwapRequest(target_image=given(drawn()), reference_image=given(portrait()))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Swap(request)
        assert (await stub.GetCapabilities(pb2.GetCapabilitiesRequest())).content_check
        face_models: FaceModelServiceAsyncStub = FaceModelServiceStub(channel)
        if refused == "reference_image":
            check.refuses = lambda image, field: field == "images[1]"
            photos = [given(portrait()), given(drawn())]
            with pytest.raises(grpc.aio.AioRpcError) as build:
                await face_models.BuildFaceModel(models.BuildFaceModelRequest(face_model_id="a", images=photos))
            assert from_rpc_error(build.value).field == "images[1]"
    error: LikenessError = from_rpc_error(caught.value)
    assert (error.reason, error.field, error.http_status) == ("CONTENT_REFUSED", refused, 422)
    assert check.seen[: 3 if refused is None else 1][-1] == refused or refused == "target_image"


async def test_the_classifier_of_the_settings_is_used(swapper: FaceSwapper, tmp_path: Path, classifier: Path) -> None:
    settings = FaceSwapSettings.load(
        port=0, threads=1, artifacts_url=str(tmp_path), content_check_model=classifier, content_check_threshold=0.7
    )
    async with (
        running_service(make_spec(settings), settings) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub: FaceSwapServiceAsyncStub = FaceSwapServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Swap(pb2.SwapRequest(target_image=given(drawn()), reference_image=given(portrait())))
    assert from_rpc_error(caught.value).reason == "CONTENT_REFUSED"
