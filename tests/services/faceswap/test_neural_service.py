"""The service over gRPC with a profile of random networks of the real signatures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import numpy as np
import pytest
import pytest_asyncio

pytest.importorskip("onnx", reason="the extra inswapper is not installed")
pytest.importorskip("insightface.model_zoo.inswapper", reason="the extra inswapper is not installed")

from grpc_health.v1 import health_pb2, health_pb2_grpc

from core.runtime.images import decode_image
from core.runtime.server import running_service
from likeness.common.v1 import image_pb2
from likeness.errors import LikenessError, from_rpc_error
from likeness.faceswap.v1 import faceswap_service_pb2 as pb2
from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceStub
from services.faceswap.service import make_spec
from services.faceswap.settings import FaceSwapSettings
from tests.support import swap_networks
from tests.support.faces import drawn, group_photo, png, portrait, side_by_side

if TYPE_CHECKING:
    from likeness.faceswap.v1.faceswap_service_pb2_grpc import FaceSwapServiceAsyncStub


COMMAND = [sys.executable, "-m", "services.faceswap"]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of random networks: both engines, a gentle restorer, CodeFormer's, and one that destroys faces."""
    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    gentle = swap_networks.restorer(folder / "gentle.onnx", gain=1.04)
    weighted = swap_networks.restorer(
        folder / "codeformer.onnx", add=np.full((3, 512, 512), 0.02, dtype=np.float32), fidelity=True
    )
    coarse = np.kron(rng.random((3, 32, 32)), np.ones((16, 16)))
    noise = swap_networks.restorer(folder / "noise.onnx", gain=0.0, add=coarse - 0.5)
    return swap_networks.profile_file(folder, restorers={"gentle": gentle, "codeformer": weighted, "noise": noise})


@pytest_asyncio.fixture
async def stub(profile: Path, tmp_path: Path) -> AsyncIterator[FaceSwapServiceAsyncStub]:
    settings = FaceSwapSettings.load(port=0, threads=1, artifacts_url=str(tmp_path / "a"), profile_file=profile)
    async with (
        running_service(make_spec(settings), settings) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield FaceSwapServiceStub(channel)


def given(image: np.ndarray) -> image_pb2.ImageInput:
    return image_pb2.ImageInput(data=png(image))


def request(**changes: Any) -> pb2.SwapRequest:
    values: dict[str, Any] = {"target_image": given(drawn(2, 320)), "reference_image": given(portrait())}
    return pb2.SwapRequest(**values | changes)


async def refusal(call: Any) -> LikenessError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_default_engine_draws_and_the_default_restorer_restores(stub: FaceSwapServiceAsyncStub) -> None:
    response = await stub.Swap(request())
    assert response.engine == "inswapper"
    assert response.restoration == pb2.Restoration(applied=True, model="gentle")
    assert response.swapped[0].restore_visibility == 1.0
    assert response.timings.restore_milliseconds > 0
    image = decode_image(response.image.data, field="image")
    assert not np.array_equal(image, drawn(2, 320))


async def test_every_engine_of_the_profile_can_be_asked_for_and_is_restored(stub: FaceSwapServiceAsyncStub) -> None:
    plain = await stub.Swap(request(engine="mesh", restore_face=False))
    restored = await stub.Swap(request(engine="mesh", restore_model="gentle"))
    assert (plain.engine, restored.engine) == ("mesh", "mesh")
    assert plain.restoration.reason == "restore_face is false"
    assert not plain.swapped[0].HasField("restore_visibility")
    assert restored.restoration.applied
    assert plain.image.sha256 != restored.image.sha256


async def test_only_swapped_faces_are_restored(stub: FaceSwapServiceAsyncStub) -> None:
    target = side_by_side(drawn(2), drawn(18))
    response = await stub.Swap(
        request(target_image=given(target), target_face_indexes=[1], target_order=pb2.FACE_ORDER_LEFT_TO_RIGHT)
    )
    assert response.restoration.applied
    changed = (decode_image(response.image.data, field="image") != target).any(axis=(0, 2))
    assert not changed[: target.shape[1] // 2].any()
    assert changed[target.shape[1] // 2 :].any()


async def test_every_swapped_face_is_restored_and_not_only_the_last(stub: FaceSwapServiceAsyncStub) -> None:
    target = side_by_side(drawn(2), drawn(18))
    both = {"target_image": given(target), "all_target_faces": True}
    response = await stub.Swap(request(**both, restore_model="codeformer", restore_fidelity=1.0))
    plain = await stub.Swap(request(**both, restore_face=False))
    assert [item.restore_visibility for item in response.swapped] == [1.0, 1.0]
    restored, drawn_alone = (decode_image(item.image.data, field="image") for item in (response, plain))
    different = (restored != drawn_alone).any(axis=(0, 2))
    assert different[: target.shape[1] // 2].any()
    assert different[target.shape[1] // 2 :].any()


async def test_a_head_that_is_turned_far_is_told_whichever_side_it_is_on(stub: FaceSwapServiceAsyncStub) -> None:
    group = group_photo()
    assert group is not None
    (faces,) = [(await stub.DetectFaces(pb2.DetectFacesRequest(image=given(group)))).faces]
    (turned, *_) = [face.index for face in faces if 44 < abs(face.pose.yaw) < 60]
    crop = {"reference_image": given(group), "reference_face_index": turned}
    as_reference = await stub.Swap(request(**crop))
    as_target = await stub.Swap(request(target_image=given(group), target_face_indexes=[turned]))
    assert any("the reference's head is turned" in text for text in as_reference.warnings)
    assert any("the target's head is turned" in text for text in as_target.warnings)
    assert not any("head is turned" in text for text in (await stub.Swap(request())).warnings)


async def test_visibility_is_obeyed(stub: FaceSwapServiceAsyncStub) -> None:
    none = await stub.Swap(request(restore_visibility=0.0))
    half = await stub.Swap(request(restore_visibility=0.5))
    plain = await stub.Swap(request(restore_face=False))
    assert none.restoration.reason == "restore_visibility is 0"
    assert none.image.sha256 == plain.image.sha256
    assert half.swapped[0].restore_visibility == 0.5


async def test_restorer_that_destroys_the_face_is_held_back_and_the_answer_says_so(
    stub: FaceSwapServiceAsyncStub,
) -> None:
    response = await stub.Swap(request(engine="mesh", restore_model="noise"))
    plain = await stub.Swap(request(engine="mesh", restore_face=False))
    shown = response.swapped[0].restore_visibility
    assert shown < 1
    assert any("would have cost likeness" in warning for warning in response.warnings)
    assert response.swapped[0].identity_after > plain.swapped[0].identity_after - 0.1


async def test_codeformer_takes_its_fidelity_and_others_refuse_it(stub: FaceSwapServiceAsyncStub) -> None:
    low, high = [
        await stub.Swap(request(engine="mesh", restore_model="codeformer", restore_fidelity=fidelity))
        for fidelity in (0.0, 1.0)
    ]
    assert low.restoration.model == high.restoration.model == "codeformer"
    assert low.image.sha256 != high.image.sha256
    error = await refusal(stub.Swap(request(restore_model="gentle", restore_fidelity=0.5)))
    assert (error.reason, error.field) == ("INVALID_REQUEST", "restore_fidelity")


async def test_unknown_restorer_is_refused_with_those_there_are(stub: FaceSwapServiceAsyncStub) -> None:
    error = await refusal(stub.Swap(request(restore_model="gpen")))
    assert (error.reason, error.field) == ("INVALID_REQUEST", "restore_model")
    assert "gentle, codeformer, noise" in error.message


async def test_pixel_boost_is_for_the_engine_that_draws(stub: FaceSwapServiceAsyncStub) -> None:
    sizes = {size: await stub.Swap(request(pixel_boost=size, restore_face=False)) for size in (0, 256, 512)}
    assert len({response.image.sha256 for response in sizes.values()}) == 3
    error = await refusal(stub.Swap(request(engine="mesh", pixel_boost=256)))
    assert (error.reason, error.field) == ("INVALID_REQUEST", "pixel_boost")
    error = await refusal(stub.Swap(request(pixel_boost=300)))
    assert error.field == "pixel_boost"


async def test_values_out_of_range_are_refused(stub: FaceSwapServiceAsyncStub) -> None:
    for field in ("restore_visibility", "restore_fidelity"):
        for value in (-0.1, 1.1, float("nan")):
            assert (await refusal(stub.Swap(request(**{field: value})))).field == field


async def test_capabilities_tell_engines_restorers_sizes_and_what_runs_them(stub: FaceSwapServiceAsyncStub) -> None:
    told = await stub.GetCapabilities(pb2.GetCapabilitiesRequest())
    assert list(told.engines) == ["inswapper", "mesh"]
    assert list(told.restorers) == ["gentle", "codeformer", "noise"]
    assert list(told.face_sizes) == [128, 256, 512]
    assert told.execution_provider == "CPUExecutionProvider"
    assert (told.model.profile, told.model.device) == ("random", "cpu")


async def test_process_swaps_by_the_profile_that_its_environment_names(profile: Path, tmp_path: Path) -> None:
    with subprocess.Popen(COMMAND, env=_environment(profile, tmp_path), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            address = next(line.split()[-1] for line in lines if line.startswith("faceswap listens on"))
            async with grpc.aio.insecure_channel(address) as channel:
                health: Any = health_pb2_grpc.HealthStub(channel)
                watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
                async for state in watch:
                    if state.status == health_pb2.HealthCheckResponse.SERVING:
                        break
                watch.cancel()
                response = await FaceSwapServiceStub(channel).Swap(request(), timeout=60)
            assert (response.engine, response.restoration.model) == ("inswapper", "gentle")
        finally:
            process.terminate()
    assert process.returncode == 0


def test_process_with_an_altered_file_ends_at_the_start_and_names_it(tmp_path: Path) -> None:
    profile = swap_networks.profile_file(tmp_path)
    network = tmp_path / "inswapper_128.onnx"
    content = bytearray(network.read_bytes())
    content[-100] ^= 1
    network.write_bytes(content)
    done = _start(profile, tmp_path)
    assert done.returncode == 1
    assert "inswapper_128.onnx has SHA-256" in done.stderr


def test_process_with_a_network_of_another_signature_ends_at_the_start(tmp_path: Path) -> None:
    profile = swap_networks.profile_file(tmp_path)
    swapped = profile.read_text().replace("inswapper_128.onnx", "w600k_r50.onnx.keep")
    swapped = swapped.replace("buffalo_l/w600k_r50.onnx", "inswapper_128.onnx")
    profile.write_text(_unpinned(swapped.replace("w600k_r50.onnx.keep", "buffalo_l/w600k_r50.onnx")))
    done = _start(profile, tmp_path)
    assert done.returncode == 1
    assert "a swap network takes a crop" in done.stderr


def test_process_with_a_network_that_overflows_ends_at_the_start(tmp_path: Path) -> None:
    profile = swap_networks.profile_file(tmp_path)
    swap_networks.inswapper(tmp_path / "inswapper_128.onnx", gain=np.inf)
    profile.write_text(_unpinned(profile.read_text()))
    done = _start(profile, tmp_path)
    assert done.returncode == 1
    assert "numbers that are not finite" in done.stderr


def test_process_whose_gpu_cannot_be_had_ends_and_never_takes_the_cpu(tmp_path: Path) -> None:
    done = _start(swap_networks.profile_file(tmp_path), tmp_path, LIKENESS_FACESWAP_DEVICE="cuda:0")
    assert done.returncode == 1
    assert "CUDAExecutionProvider" in done.stderr


def _unpinned(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(("sha256", "size_bytes")))


def _start(profile: Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND,
        env=_environment(profile, folder) | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _environment(profile: Path, folder: Path) -> dict[str, str]:
    return os.environ | {
        "LIKENESS_FACESWAP_PROFILE_FILE": str(profile),
        "LIKENESS_ARTIFACTS_URL": str(folder / "artifacts"),
        "LIKENESS_FACESWAP_PORT": "0",
        "LIKENESS_FACESWAP_THREADS": "1",
    }
