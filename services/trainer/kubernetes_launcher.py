"""Runs as Jobs of the cluster that Kueue admits, one to an attempt."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

from core.runtime.telemetry import log
from services.trainer.kubernetes_api import JobsApi, KubernetesError
from services.trainer.launcher import SAVED_AND_STOPPED, LaunchError, Run, RunState

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
UID_LABEL = "likeness.dev/training-job"
CONTAINER = "run"
_TTL_SECONDS = 3600

_logger = logging.getLogger("likeness.trainer")


class TemplateError(ValueError):
    """The Job's template can't be used; the message says why."""


def read_template(path: Path) -> dict[str, Any]:
    """Return the template of a Job: its pod has a container named ``run``. Raises TemplateError."""
    try:
        template: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        containers = template["spec"]["template"]["spec"]["containers"]
        if [container["name"] for container in containers].count(CONTAINER) != 1:
            raise ValueError(f"no container is named {CONTAINER!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TemplateError(f"kubernetes_job_template {path}: not a Job in JSON: {error}") from error
    return template


def job_name(run: Run) -> str:
    """Return the name of an attempt's Job: always the same, so that it is never made twice."""
    return f"likeness-training-{run.uid}-{run.attempt}"


def make_job(template: dict[str, Any], run: Run, *, queue: str, max_seconds: int) -> dict[str, Any]:
    """Return the Job of an attempt.

    It is made suspended: Kueue starts it when the queue has room. The cluster never runs it twice, since the trainer
    begins a new attempt; only a pod that the cluster itself took away is replaced.

    Args:
        template: what the operator says of image, volumes and resources.
        run: the attempt.
        queue: Kueue's LocalQueue.
        max_seconds: longest time that it may run.
    """
    job = copy.deepcopy(template)
    metadata = job.setdefault("metadata", {})
    metadata["name"] = job_name(run)
    labels = {UID_LABEL: run.uid, "app.kubernetes.io/component": "training-run"}
    metadata["labels"] = {**metadata.get("labels", {}), **labels, QUEUE_LABEL: queue}
    job["apiVersion"], job["kind"] = "batch/v1", "Job"
    spec = job["spec"]
    spec |= {
        "suspend": True,
        "backoffLimit": 0,
        "activeDeadlineSeconds": max_seconds,
        "ttlSecondsAfterFinished": _TTL_SECONDS,
        "podFailurePolicy": {
            "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
    }
    pod = spec["template"]
    pod.setdefault("metadata", {})
    pod["metadata"]["labels"] = {**pod["metadata"].get("labels", {}), **labels}
    pod["spec"]["restartPolicy"] = "Never"
    for container in pod["spec"]["containers"]:
        if container["name"] == CONTAINER:
            container["args"] = [run.uid, str(run.attempt)]
            container.setdefault("command", ["python", "-m", "services.trainer.run"])
    return job


class KubernetesLauncher:
    """Starts Jobs over the API server."""

    def __init__(self, api: JobsApi, template: dict[str, Any], *, queue: str, max_seconds: int) -> None:
        """Make Jobs from ``template`` for Kueue's ``queue``."""
        self._api = api
        self._template = template
        self._queue = queue
        self._max_seconds = max_seconds

    def start(self, run: Run) -> None:
        """Make the attempt's Job; one that is there stays. Raises LaunchError."""
        try:
            self._api.create(make_job(self._template, run, queue=self._queue, max_seconds=self._max_seconds))
        except KubernetesError as error:
            raise LaunchError(f"the cluster took no Job for the run: {error}") from error

    def state(self, run: Run) -> RunState:
        """Return what the cluster says of the Job; UNKNOWN while it can't be asked."""
        try:
            job = self._api.get(job_name(run))
        except KubernetesError as error:
            log(_logger, logging.WARNING, "the cluster can't be asked about a run", error=str(error), uid=run.uid)
            return RunState.UNKNOWN
        if job is None:
            return RunState.ENDED
        status: dict[str, Any] = job.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
                stopped = f"exit code {SAVED_AND_STOPPED}" in str(condition.get("message", ""))
                return RunState.STOPPED if stopped else RunState.ENDED
        if job.get("spec", {}).get("suspend") or not status.get("ready"):
            return RunState.PENDING
        return RunState.RUNNING

    def kill(self, run: Run) -> None:
        """Remove the Job and its pod."""
        try:
            self._api.delete(job_name(run))
        except KubernetesError as error:
            log(_logger, logging.WARNING, "a run's Job was not removed", error=str(error), uid=run.uid)

    def kill_all(self) -> None:
        """Do nothing: a run in the cluster that can't renew its lease ends by itself."""

    def close(self, seconds: float) -> None:
        """Close the connections; Jobs go on, and the next trainer finds them by their leases."""
        self._api.close()
