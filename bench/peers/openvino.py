# SPDX-License-Identifier: Apache-2.0
"""OpenVINO: predictions only, in float32 (its default on CPUs with bfloat16 would be that)."""

from __future__ import annotations

import openvino

from .onnx_model import channels_first, to_onnx
from .worker import Adapter, Step, Task, serve


class OpenVino(Adapter):
    modes = ("predict",)

    def __init__(self, threads: int) -> None:
        self.core = openvino.Core()

    def versions(self) -> dict[str, str]:
        return {"openvino": openvino.__version__}

    def predict(self, task: Task, variant: str) -> Step:
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": task.threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        model = self.core.read_model(to_onnx(task.program, task.weights, len(task.x)))
        request = self.core.compile_model(model, "CPU", config).create_infer_request()
        x = channels_first(task.x)
        return lambda: request.infer([x], share_inputs=True, share_outputs=True)[0]


if __name__ == "__main__":
    serve(OpenVino)
