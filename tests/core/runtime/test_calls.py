"""Calls of a service on a real port: errors, metadata, deadlines, disconnects, the line in the log."""

from __future__ import annotations

import logging
from typing import Any

import grpc.aio
import pytest

from core.runtime.server import ServiceSpec, running_service
from core.runtime.settings import ServiceSettings
from core.runtime.worker import DeviceWorker
from likeness.errors import Cancelled, DeadlineExceeded, Internal, InvalidRequest, NoFace, Unsupported
from likeness.generator.v1 import generator_service_pb2 as pb
from likeness.generator.v1 import lora_service_pb2, lora_service_pb2_grpc
from tests.core.runtime.conftest import SERVICE
from tests.support.calls import PATIENCE, connect, failure, reach, rest


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


async def test_large_messages_pass_up_to_the_limit(spec: ServiceSpec[Any], settings: ServiceSettings) -> None:
    async with running_service(spec, settings) as address, connect(address) as stub:
        error = await failure(stub.Generate(pb.GenerateRequest(prompt="x" * 8_000_000)))
        assert type(error) is InvalidRequest, "the limit of the field, not of the transport"
