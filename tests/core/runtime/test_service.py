"""A service on a real port: loading, health, reflection, draining."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from core.runtime.cancellation import CancelToken
from core.runtime.server import Service, ServiceSpec, running_service
from core.runtime.settings import ServiceSettings
from core.runtime.worker import DeviceWorker
from likeness.errors import ModelLoading, QueueFull, ServiceUnavailable
from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import generator_service_pb2_grpc as rpc
from tests.core.runtime.conftest import SERVICE
from tests.support.calls import PATIENCE, connect, failure, reach, rest

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


async def health(address: str, service: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(service=service))).status)


def watch_health(channel: grpc.aio.Channel, service: str) -> Any:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Watch(health_pb2.HealthCheckRequest(service=service))


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
