"""A service on a real port: errors, health, reflection, deadlines, disconnects, draining."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from core.runtime.cancellation import CancelToken
from core.runtime.server import Service, ServiceSpec, running_service
from core.runtime.settings import ServiceSettings
from core.runtime.worker import DeviceWorker
from likeness.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    LikenessError,
    ModelLoading,
    NoFace,
    QueueFull,
    ServiceUnavailable,
    Unsupported,
    from_rpc_error,
)
from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from likeness.generator.v1 import lora_service_pb2, lora_service_pb2_grpc

SERVICE = "likeness.generator.v1.GeneratorService"
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING
PATIENCE = 10.0


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield rpc.GeneratorServiceStub(channel)


async def failure(call: Any) -> LikenessError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "read"):
            await rest(call)
        else:
            await call
    return from_rpc_error(caught.value)


async def rest(call: Any) -> list[str]:
    """Read a stream to its end; return the names of its events."""
    events = []
    while (event := await call.read()) is not grpc.aio.EOF:
        events.append(event.WhichOneof("event"))
    return events


async def reach(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE)


async def health(address: str, service: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(service=service))).status)


def watch_health(channel: grpc.aio.Channel, service: str) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Watch(health_pb2.HealthCheckRequest(service=service))


async def test_calls_of_both_kinds_are_answered(spec: ServiceSpec[Any], settings: ServiceSettings) -> None:
    async with running_service(spec, settings) as address, connect(address) as stub:
        assert (await stub.GetCapabilities(pb.GetCapabilitiesRequest())).queue_capacity == 3
        call = stub.Generate(pb.GenerateRequest(prompt="x"))
        assert await rest(call) == ["queued", "started", "finished"]


async def test_errors_reach_the_client_whole(spec: ServiceSpec[Any], settings: ServiceSettings) -> None:
    async with running_service(spec, settings) as address, connect(address) as stub:
        call = stub.Generate(pb.GenerateRequest(prompt="no face"), metadata=(("x-request-id", "r-9"),))
        error = await failure(call)
        assert type(error) is NoFace
        assert (error.message, error.field, error.metadata) == ("nobody is there", "reference_image", {"faces": "0"})
        assert error.request_id == "r-9"


async def test_a_crash_becomes_internal_and_tells_nothing(
    spec: ServiceSpec[Any], settings: ServiceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_service(spec, settings) as address, connect(address) as stub:
        error = await failure(stub.Generate(pb.GenerateRequest(prompt="crash"), metadata=(("x-request-id", "r-9"),)))
        assert type(error) is Internal
        assert "secret" not in error.message
        assert "r-9" in error.message
        assert any(record.exc_info and "secret" in str(record.exc_info[1]) for record in caplog.records)


async def test_a_bad_request_names_every_field(spec: ServiceSpec[Any], settings: ServiceSettings) -> None:
    request = pb.GenerateRequest(prompt=" ", count=9, true_cfg_scale=float("nan"), loras=[pb.LoraSelection(strength=9)])
    async with running_service(spec, settings) as address, connect(address) as stub:
        error = await failure(stub.Generate(request))
        assert type(error) is InvalidRequest
        fields = [violation.field for violation in error.violations]
        assert {"prompt", "count", "true_cfg_scale", "loras[0].lora_id", "loras[0].strength"} == set(fields)
        assert error.violations[0].message == "the prompt is empty: say what to draw"
        assert all(violation.rule.isupper() for violation in error.violations)


async def test_bad_call_metadata_is_refused_with_its_key(spec: ServiceSpec[Any], settings: ServiceSettings) -> None:
    async with running_service(spec, settings) as address, connect(address) as stub:
        call = stub.GetCapabilities(pb.GetCapabilitiesRequest(), metadata=(("x-tenant-id", "../x"),))
        error = await failure(call)
        assert (type(error), error.field) == (InvalidRequest, "x-tenant-id")


async def test_an_unknown_service_is_not_supported(spec: ServiceSpec[Any], settings: ServiceSettings) -> None:
    async with running_service(spec, settings) as address, grpc.aio.insecure_channel(address) as channel:
        stub = lora_service_pb2_grpc.LoraServiceStub(channel)
        assert type(await failure(stub.ListLoras(lora_service_pb2.ListLorasRequest()))) is Unsupported


async def test_a_client_that_goes_away_stops_the_work(
    spec: ServiceSpec[Any], settings: ServiceSettings, steps: Any, worker: DeviceWorker
) -> None:
    async with running_service(spec, settings) as address, connect(address) as stub:
        call = stub.Generate(pb.GenerateRequest(prompt="steps"))
        steps.allowed.release()
        async for event in call:
            if event.WhichOneof("event") == "step":
                break
        call.cancel()
        await reach(steps.left)
        assert isinstance(steps.stopped_by, Cancelled)
        assert await worker.drain(PATIENCE)


async def test_a_client_that_closes_its_connection_stops_the_work(
    spec: ServiceSpec[Any], settings: ServiceSettings, steps: Any
) -> None:
    async with running_service(spec, settings) as address:
        async with connect(address) as stub:
            call = stub.Generate(pb.GenerateRequest(prompt="steps"))
            await call.read()
            await reach(steps.entered)
        await reach(steps.left)


async def test_a_deadline_stops_the_work(
    spec: ServiceSpec[Any], settings: ServiceSettings, steps: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running_service(spec, settings) as address, connect(address) as stub:
        error = await failure(stub.Generate(pb.GenerateRequest(prompt="steps"), timeout=0.3))
        assert type(error) is DeadlineExceeded
        await reach(steps.left)
    assert [fields["code"] for fields in call_lines(caplog)] == ["DEADLINE_EXCEEDED"]


def call_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["likeness_fields"] for record in caplog.records if record.name == "likeness.calls"]


async def test_every_call_leaves_one_line_without_its_prompt(
    spec: ServiceSpec[Any], settings: ServiceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    metadata = (("x-request-id", "r-1"), ("x-tenant-id", "acme"))
    async with running_service(spec, settings) as address, connect(address) as stub:
        await rest(stub.Generate(pb.GenerateRequest(prompt="a private wish"), metadata=metadata))
        await failure(stub.Generate(pb.GenerateRequest(prompt="no face"), metadata=metadata))
    fine, failed = call_lines(caplog)
    assert (fine["method"], fine["code"]) == (f"/{SERVICE}/Generate", "OK")
    assert (fine["request_id"], fine["tenant"]) == ("r-1", "acme")
    assert (failed["code"], failed["reason"]) == ("INVALID_ARGUMENT", "NO_FACE")
    assert "a private wish" not in caplog.text


async def test_a_full_service_refuses_at_once(
    spec: ServiceSpec[Any], settings: ServiceSettings, steps: Any, worker: DeviceWorker
) -> None:
    async with running_service(spec, settings) as address, connect(address) as stub:
        calls = [stub.Generate(pb.GenerateRequest(prompt="steps")) for _ in range(4)]
        for call in calls:
            assert (await call.read()).WhichOneof("event") == "queued"
        error = await failure(stub.Generate(pb.GenerateRequest(prompt="x")))
        assert type(error) is QueueFull
        assert error.retry_after_seconds
        assert await health(address, SERVICE) == SERVING
        for call in calls:
            call.cancel()


async def test_while_it_loads_the_port_answers_and_calls_are_told_to_wait(
    spec: ServiceSpec[Any], settings: ServiceSettings
) -> None:
    may_load = threading.Event()

    def load() -> Any:
        assert may_load.wait(PATIENCE)
        return spec.load()

    slow = dataclasses.replace(spec, load=load)
    async with (
        running_service(slow, settings, wait_until_loaded=False) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub: Any = rpc.GeneratorServiceStub(channel)
        watch = watch_health(channel, SERVICE)
        assert (await watch.read()).status == NOT_SERVING
        for call in (stub.GetCapabilities(pb.GetCapabilitiesRequest()), stub.Generate(pb.GenerateRequest())):
            error = await failure(call)
            assert type(error) is ModelLoading
            assert error.retry_after_seconds
        may_load.set()
        assert (await watch.read()).status == SERVING
        await stub.GetCapabilities(pb.GetCapabilitiesRequest())
        watch.cancel()


async def test_a_failed_load_is_raised(spec: ServiceSpec[Any], settings: ServiceSettings) -> None:
    def load() -> Any:
        raise FileNotFoundError("no weights here")

    with pytest.raises(FileNotFoundError, match="no weights here"):
        async with running_service(dataclasses.replace(spec, load=load), settings):
            pass


async def test_health_and_reflection_know_the_services(spec: ServiceSpec[Any], settings: ServiceSettings) -> None:
    async with running_service(spec, settings) as address:
        assert await health(address, "") == SERVING
        assert await health(address, SERVICE) == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(address, "no.such.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        names = await asyncio.to_thread(reflected_services, address)
        assert {SERVICE, "grpc.health.v1.Health"} <= names


def reflected_services(address: str) -> set[str]:
    with grpc.insecure_channel(address) as channel:
        return set(ProtoReflectionDescriptorDatabase(channel).get_services())


async def test_one_watcher_leaving_leaves_the_others_informed(
    spec: ServiceSpec[Any], settings: ServiceSettings
) -> None:
    service = Service(spec, settings)
    await service.start()
    await service.wait_loaded()
    async with grpc.aio.insecure_channel(service.address) as channel:
        watches = [watch_health(channel, "") for _ in range(2)]
        for watch in watches:
            assert (await watch.read()).status == SERVING
        watches[0].cancel()
        stopping = asyncio.create_task(service.stop())
        assert (await watches[1].read()).status == NOT_SERVING
        assert await watches[1].read() is grpc.aio.EOF, "a watcher does not hold up the end"
        async with asyncio.timeout(PATIENCE):
            await stopping


async def test_stopping_lets_admitted_work_end_and_refuses_new_work(
    spec: ServiceSpec[Any], settings: ServiceSettings, worker: DeviceWorker
) -> None:
    entered, release = threading.Event(), threading.Event()

    def work(token: Any, emit: Any) -> int:
        entered.set()
        assert release.wait(PATIENCE)
        return 5

    service = Service(spec, settings)
    await service.start()
    await service.wait_loaded()
    async with connect(service.address) as stub:
        running = asyncio.create_task(worker.call(work, token=CancelToken()))
        await reach(entered)
        waiting = stub.Generate(pb.GenerateRequest(prompt="x"))
        assert (await waiting.read()).WhichOneof("event") == "queued"
        stopping = asyncio.create_task(service.stop())
        while await health(service.address, "") == SERVING:
            pass
        assert type(await failure(stub.Generate(pb.GenerateRequest(prompt="x")))) is ServiceUnavailable
        release.set()
        assert (await running)[0] == 5
        assert await rest(waiting) == ["started", "finished"]
        async with asyncio.timeout(PATIENCE):
            await stopping


async def test_work_that_outlasts_the_drain_is_stopped_with_an_error(
    spec: ServiceSpec[Any], settings: ServiceSettings, steps: Any
) -> None:
    service = Service(spec, settings)
    await service.start()
    await service.wait_loaded()
    async with connect(service.address) as stub:
        call = stub.Generate(pb.GenerateRequest(prompt="steps"))
        await call.read()
        await reach(steps.entered)
        async with asyncio.timeout(PATIENCE):
            await service.stop(drain_seconds=0.05)
        error = await failure(call)
        # Not Cancelled: its client did nothing, and may try again.
        assert type(error) is ServiceUnavailable
        assert "shutting down" in error.message


async def test_a_taken_port_is_an_error_and_leaves_nothing_running(
    spec: ServiceSpec[Any], settings: ServiceSettings
) -> None:
    async with running_service(spec, settings) as address:
        port = int(address.rpartition(":")[2])
        other = DeviceWorker("other")
        taken = settings.model_copy(update={"port": port})
        with pytest.raises(OSError, match=str(port)):
            async with running_service(dataclasses.replace(spec, worker=other), taken):
                pass
        assert not other._thread.is_alive()


async def test_large_messages_pass_up_to_the_limit(spec: ServiceSpec[Any], settings: ServiceSettings) -> None:
    async with running_service(spec, settings) as address, connect(address) as stub:
        error = await failure(stub.Generate(pb.GenerateRequest(prompt="x" * 8_000_000)))
        assert type(error) is InvalidRequest, "the limit of the field, not of the transport"


PROGRAM = """
import sys, time
from core.runtime.server import ServiceSpec, run_service
from core.runtime.settings import ServiceSettings

class Settings(ServiceSettings):
    service = "generator"

def load():
    if sys.argv[1] == "fail":
        raise RuntimeError("no weights here")
    if sys.argv[1] == "hang":
        time.sleep(600)

spec = ServiceSpec("generator", ("a.B",), load, lambda server, loaded: None)
raise SystemExit(run_service(lambda settings: spec, Settings))
"""


def start(mode: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


def wait_for(stream: Any, message: str) -> dict[str, Any]:
    for line in stream:
        record = json.loads(line)
        if record["message"] == message:
            return dict(record)
    raise AssertionError(f"the process ended without {message!r}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly(number: signal.Signals) -> None:
    process = start("serve")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("generator listens on 127.0.0.1:")
    assert wait_for(process.stderr, "ready")["service"] == "generator"
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert [json.loads(line)["message"] for line in errors.splitlines()] == ["stopping"]


def test_a_signal_ends_a_process_that_still_loads() -> None:
    process = start("hang")
    wait_for(process.stderr, "listening")
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_a_failed_load_ends_the_process_with_an_error() -> None:
    process = start("fail")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "no weights here" in json.loads(errors.splitlines()[-1])["exception"]


def test_bad_settings_end_the_process_with_their_name() -> None:
    process = start("serve", LIKENESS_GENERATOR_PORT="70000")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "generator settings: port" in errors
