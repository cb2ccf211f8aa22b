"""Networks of the real signatures, made here: swappers, ArcFace, SCRFD, restorers. Needs the package onnx."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 10
OPSET = 17


def _save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: Mapping[str, Any]) -> Path:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def _floats(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def random_emap(seed: int = 0) -> np.ndarray[Any, Any]:
    """A 512×512 map of embeddings."""
    return np.random.default_rng(seed).normal(size=(512, 512)).astype(np.float32) / 20


def inswapper(
    path: Path,
    *,
    size: int = 128,
    tint: float = 0.0,
    gain: float = 1.0,
    emap: np.ndarray[Any, Any] | None = None,
    half: bool = False,
) -> Path:
    """Write a swapper of inswapper's signature: target 1×3×S×S, source 1×512, emap last.

    Its output is the target times `gain`, plus the first three numbers of the source times `tint`. With `half` all of
    it is float16.
    """
    number: Any = np.float16 if half else np.float32
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes = [
        helper.make_node("Mul", ["target", "gain"], ["scaled"]),
        helper.make_node("Gemm", ["source", "tint"], ["colour"]),
        helper.make_node("Reshape", ["colour", "shape"], ["plane"]),
        helper.make_node("Add", ["scaled", "plane"], ["output"]),
    ]
    weights = {
        "gain": number(gain),
        "tint": np.eye(512, 3, dtype=number) * number(tint),
        "shape": np.array([1, 3, 1, 1], dtype=np.int64),
        "emap": (random_emap() if emap is None else emap).astype(number),
    }
    inputs = [
        helper.make_tensor_value_info("target", kind, [1, 3, size, size]),
        helper.make_tensor_value_info("source", kind, [1, 512]),
    ]
    output = helper.make_tensor_value_info("output", kind, [1, 3, size, size])
    return _save(path, nodes, inputs, [output], weights)


def hyperswap(path: Path) -> Path:
    """Write a swapper of hyperswap's signature: source first, crops of 256 in −1 to 1, a mask as second output."""
    nodes = [
        helper.make_node("Mul", ["source", "nothing"], ["still"]),
        helper.make_node("ReduceSum", ["still"], ["zero"], keepdims=0),
        helper.make_node("Add", ["target", "zero"], ["output"]),
        helper.make_node("ReduceMean", ["target"], ["mask"], axes=[1], keepdims=1),
    ]
    inputs = [_floats("source", [1, 512]), _floats("target", [1, 3, 256, 256])]
    outputs = [_floats("output", [1, 3, 256, 256]), _floats("mask", [1, 1, 256, 256])]
    return _save(path, nodes, inputs, outputs, {"nothing": np.float32(0.0)})


def arcface(path: Path, seed: int = 1) -> Path:
    """Write an embedder of w600k_r50's signature: 1×3×112×112 to 1×512, random over 8×8 means."""
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["small"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["683"]),
    ]
    weights = {"weights": np.random.default_rng(seed).normal(size=(192, 512)).astype(np.float32)}
    return _save(path, nodes, [_floats("input.1", ["None", 3, 112, 112])], [_floats("683", [1, 512])], weights)


def scrfd(path: Path, offsets: np.ndarray[Any, Any], half_side: float = 60.0) -> Path:
    """Write a detector of det_10g's signature (nine outputs, two anchors a cell, any size).

    It finds a face at the cells of stride 8 that are pure green, with its 5×2 points at `offsets` from the cell and a
    box of `half_side` to every side, both in pixels.
    """
    nodes: list[Any] = []
    weights: dict[str, Any] = {}
    results: dict[str, list[Any]] = {"score": [], "box": [], "points": []}
    green = np.zeros((2, 3, 1, 1), dtype=np.float32)
    green[0, 1], green[0, 0], green[0, 2] = 40.0, -40.0, -40.0
    for stride in (8, 16, 32):
        bias = -60.0 if stride == 8 else -500.0
        weights[f"score_w{stride}"] = green if stride == 8 else np.zeros_like(green)
        weights[f"score_b{stride}"] = np.array([bias, -500.0], dtype=np.float32)
        weights[f"box_w{stride}"] = np.zeros((8, 3, 1, 1), dtype=np.float32)
        weights[f"box_b{stride}"] = np.full(8, half_side / stride, dtype=np.float32)
        weights[f"points_w{stride}"] = np.zeros((20, 3, 1, 1), dtype=np.float32)
        weights[f"points_b{stride}"] = np.tile(offsets.reshape(-1) / stride, 2).astype(np.float32)
        nodes.append(
            helper.make_node(
                "AveragePool", ["input.1"], [f"cells{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            )
        )
        for kind, columns in (("score", 1), ("box", 4), ("points", 10)):
            name = f"{kind}{stride}"
            weights[f"shape_{name}"] = np.array([-1, columns], dtype=np.int64)
            nodes += [
                helper.make_node("Conv", [f"cells{stride}", f"{kind}_w{stride}", f"{kind}_b{stride}"], [f"raw_{name}"]),
                helper.make_node("Transpose", [f"raw_{name}"], [f"last_{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"last_{name}", f"shape_{name}"], [f"rows_{name}"]),
                helper.make_node("Sigmoid" if kind == "score" else "Identity", [f"rows_{name}"], [name]),
            ]
            results[kind].append(_floats(name, [None, columns]))
    outputs = [*results["score"], *results["box"], *results["points"]]
    return _save(path, nodes, [_floats("input.1", [1, 3, None, None])], outputs, weights)


def restorer(path: Path, *, gain: float = 1.0, add: np.ndarray[Any, Any] | None = None, fidelity: bool = False) -> Path:
    """Write a restorer: input 1×3×512×512 in −1 to 1; with `fidelity` also CodeFormer's weight, a double.

    Its output is the input times `gain` plus `add` (3×512×512, in units of 0–1); with `fidelity`, `add` counts by the
    weight.
    """
    change = np.zeros((1, 3, 512, 512), dtype=np.float32) if add is None else add[None].astype(np.float32) * 2
    inputs = [_floats("input", [1, 3, 512, 512])]
    nodes = [helper.make_node("Mul", ["input", "gain"], ["scaled"])]
    added = "change"
    if fidelity:
        inputs.append(helper.make_tensor_value_info("weight", TensorProto.DOUBLE, [1]))
        nodes += [
            helper.make_node("Cast", ["weight"], ["share"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["change", "share"], ["counted"]),
        ]
        added = "counted"
    nodes.append(helper.make_node("Add", ["scaled", added], ["output"]))
    weights = {"gain": np.float32(gain), "change": change}
    return _save(path, nodes, inputs, [_floats("output", [1, 3, 512, 512])], weights)


def profile_file(folder: Path, *, restorers: dict[str, Path] | None = None, detector: bool = True) -> Path:
    """Write a profile "random" over random networks in `folder`, every file pinned by size and SHA-256."""
    files = {
        "network": inswapper(folder / "inswapper_128.onnx", tint=0.3),
        "embedder": arcface(folder / "buffalo_l" / "w600k_r50.onnx"),
    }
    if detector:
        files["detector"] = scrfd(folder / "buffalo_l" / "det_10g.onnx", np.zeros((5, 2)))
    lines = ['name = "random"', 'engines = ["inswapper", "mesh"]']
    for key, path in files.items():
        lines += [f"[inswapper.{key}]", *_pinned(path)]
    for name, path in (restorers or {}).items():
        kind = "gfpgan" if path.suffix == ".pth" else "onnx"
        lines += ["[[restorers]]", f'name = "{name}"', f'kind = "{kind}"', "[restorers.network]", *_pinned(path)]
    profile = folder / "random.toml"
    profile.write_text("\n".join(lines) + "\n")
    return profile


def _pinned(path: Path) -> list[str]:
    content = path.read_bytes()
    return [
        f'file = "{path}"',
        f"size_bytes = {len(content)}",
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"',
        'source = "the test"',
        'licence = "none"',
    ]
