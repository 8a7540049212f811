# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: predictions only."""

from __future__ import annotations

import onnxruntime

from .onnx_model import channels_first, to_onnx
from .worker import Adapter, Step, Task, serve


class OnnxRuntime(Adapter):
    modes = ("predict",)

    def __init__(self, threads: int) -> None:
        pass

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": onnxruntime.__version__}

    def variants(self, task: Task) -> list[str]:
        return ["run", "run, denormals as zero"]

    def predict(self, task: Task, variant: str) -> Step:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = task.threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        if "denormals" in variant:
            options.add_session_config_entry("session.set_denormal_as_zero", "1")
        model = to_onnx(task.program, task.weights, len(task.x))
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        inputs = {"x": channels_first(task.x)}
        return lambda: session.run(None, inputs)[0]


if __name__ == "__main__":
    serve(OnnxRuntime)
