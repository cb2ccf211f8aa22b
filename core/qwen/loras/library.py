"""The LoRAs of a deployment: checked against its model, kept in the registry, loaded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.qwen.loading import QwenImageModel
from core.qwen.loras.adapter import Adapter, LoraRejected
from core.qwen.loras.cache import AdapterCache
from core.qwen.loras.file import read_lora
from core.qwen.loras.registry import LoraFacts, LoraRecord, LoraRegistry
from core.qwen.loras.requested import RequestedLora
from core.qwen.loras.stack import LoraStack
from core.runtime.artifacts import ArtifactStore
from likeness.errors import InvalidRequest, PayloadTooLarge
from likeness.metadata import DEFAULT_TENANT

MAX_LORAS = 4
"""Most LoRAs of a request, as the contract has it."""


@dataclass(frozen=True)
class LoraChoice:
    """What a request says of a LoRA."""

    lora_id: str
    version: int
    """The newest when 0."""
    strength: float


class LoraLibrary:
    """Registers, finds and loads LoRAs. All methods block; they are safe in any thread."""

    def __init__(
        self, model: QwenImageModel, artifacts: ArtifactStore, *, max_count: int, max_bytes: int, max_file_bytes: int
    ) -> None:
        """Keep LoRAs for ``model`` in ``artifacts``.

        Args:
            model: what LoRAs are checked against; its transformer has a `LoraStack`.
            artifacts: the store of the registry.
            max_count: how many loaded adapters are kept in memory.
            max_bytes: how much memory they may take.
            max_file_bytes: largest file that is registered.
        """
        stack = LoraStack.of(model.pipeline.transformer)
        if stack is None:
            raise ValueError("the model has no room for LoRAs")
        self.stack = stack
        self.max_rank = min(model.profile.loras.max_rank, stack.rows)
        """Highest rank of a LoRA."""
        self.max_file_bytes = max_file_bytes
        """Largest file in bytes."""
        self.cache = AdapterCache(max_count=max_count, max_bytes=max_bytes)
        """The adapters in memory."""
        self._base_model = model.profile.weights.name
        self._pin = model.pipeline.transformer.device.type == "cuda"
        self._artifacts = artifacts
        self._registry = LoraRegistry(artifacts)

    def register(
        self,
        lora_id: str,
        data: bytes,
        *,
        trigger_word: str = "",
        tenant_id: str = DEFAULT_TENANT,
        field: str = "data",
    ) -> LoraRecord:
        """Check a file and keep it as the next version of the tenant's ``lora_id``.

        Raises:
            InvalidRequest: the file cannot act as it should; ``field`` names it, the message the reason and the keys.
            PayloadTooLarge: it is too large.
        """
        self.check_size(len(data), field=field)
        adapter = self._read(data, field=field)
        facts = LoraFacts(
            format=adapter.format.value, rank=adapter.rank, modules=len(adapter.updates), base_model=self._base_model
        )
        return self._registry.register(
            lora_id, data, facts=facts, trigger_word=trigger_word.strip(), tenant_id=tenant_id
        )

    def register_artifact(
        self, lora_id: str, uri: str, *, trigger_word: str = "", tenant_id: str = DEFAULT_TENANT
    ) -> LoraRecord:
        """Do the same with a file of the artifact store. Raises also ArtifactNotFound and ArtifactCorrupt."""
        data = self._artifacts.get(uri, field="artifact_uri", max_bytes=self.max_file_bytes)
        return self.register(lora_id, data, trigger_word=trigger_word, tenant_id=tenant_id, field="artifact_uri")

    def check_size(self, size_bytes: int, *, field: str) -> None:
        """Raise PayloadTooLarge when a file of that size is not taken."""
        if size_bytes > self.max_file_bytes:
            raise PayloadTooLarge(
                f"a LoRA may have at most {self.max_file_bytes:,} bytes: resize it to a lower rank, or save it as "
                "bfloat16",
                field=field,
                max_bytes=str(self.max_file_bytes),
            )

    def get(self, lora_id: str, version: int = 0, *, tenant_id: str = DEFAULT_TENANT) -> LoraRecord:
        """Describe a version, the newest when 0. Raises LoraNotFound."""
        return self._registry.get(lora_id, version, tenant_id=tenant_id)

    def list(
        self, *, page_size: int, after: str = "", tenant_id: str = DEFAULT_TENANT
    ) -> tuple[Sequence[LoraRecord], str]:
        """List the newest versions by id, and the token of the next page. Raises InvalidRequest for a bad token."""
        return self._registry.list(page_size=page_size, after=after, tenant_id=tenant_id)

    def delete(
        self, lora_id: str, version: int = 0, *, forget: bool = False, tenant_id: str = DEFAULT_TENANT
    ) -> tuple[int, ...]:
        """Remove a version, or all when 0, and return which were removed.

        With ``forget`` all go with every trace of the name, and none being there is no error. Raises LoraNotFound.
        """
        if forget:
            removed = self._registry.forget(lora_id, tenant_id=tenant_id)
        else:
            removed = self._registry.delete(lora_id, version, tenant_id=tenant_id)
        for record in removed:
            self.cache.discard(record.uri)
        return tuple(record.version for record in removed)

    def find(self, choices: Iterable[LoraChoice], *, tenant_id: str = DEFAULT_TENANT) -> tuple[RequestedLora, ...]:
        """Return the LoRAs of a tenant's request, their weights loaded, so that the device need not wait for them.

        Raises:
            LoraNotFound: there is no such LoRA or version.
            InvalidRequest: it does not fit this deployment's model.
            ArtifactCorrupt: its stored file is damaged.
        """
        found: list[RequestedLora] = []
        for index, choice in enumerate(choices):
            path = f"loras[{index}].lora_id"
            record = self._registry.get(choice.lora_id, choice.version, tenant_id=tenant_id, field=path)
            requested = RequestedLora(record, choice.strength, path, self)
            requested.load()
            found.append(requested)
        return tuple(found)

    def adapter(self, record: LoraRecord, *, field: str) -> Adapter:
        """Return a version's adapter, from memory when it is there. Raises as `find`."""
        return self.cache.get(record.uri, lambda: self._load(record, field))

    def _load(self, record: LoraRecord, field: str) -> Adapter:
        adapter = self._read(self._registry.read(record, field=field), field=field, key=record.uri)
        return adapter.pinned() if self._pin else adapter

    def _read(self, data: bytes, *, field: str, key: str | None = None) -> Adapter:
        try:
            return read_lora(data, self.stack.shapes, dtype=self.stack.dtype, max_rank=self.max_rank, key=key)
        except LoraRejected as error:
            raise InvalidRequest(f"this LoRA cannot be used: {error}", field=field) from error
