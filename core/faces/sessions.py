"""onnxruntime sessions for the face networks: fixed thread count, verified file, no shared state between calls."""

from pathlib import Path

import onnxruntime

from core.faces.weights import DEFAULT_FOLDER, ModelFile


def open_session(file: ModelFile, *, folder: Path = DEFAULT_FOLDER, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a verified model on the CPU with `threads` intra-op threads.

    The session may be used from several threads at once. Raises ModelFileError for a missing or altered file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Idle spinning would take the cores from the generator's process on a small machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file.read(folder), options, providers=["CPUExecutionProvider"])
