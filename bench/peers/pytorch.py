# SPDX-License-Identifier: Apache-2.0
"""PyTorch: eager in both memory formats, torch.compile, and TorchScript for inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .program import Op, Program, symmetric
from .worker import ADAM, SGD_RATE, Adapter, Step, Task, serve

FORMATS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}


class Net(nn.Module):
    """Runs a program on NCHW tensors; a method for each kind of op."""

    def __init__(self, program: Program, weights: dict[str, Any]) -> None:
        super().__init__()
        self.program, self.uses = program, program.uses()
        averages = {name for op in program.ops for name in op.attributes.get("moving", ())}
        for op in program.ops:
            for name in (*op.weights, *op.attributes.get("moving", ())):
                if name is None or hasattr(self, plain(name)):
                    continue
                tensor = torch.from_numpy(weights[name])
                if tensor.ndim == 4:  # RSCK -> KCRS
                    tensor = tensor.permute(3, 2, 0, 1).contiguous()
                elif tensor.ndim == 2:  # CK -> KC
                    tensor = tensor.T.contiguous()
                if name in averages or name in program.constants:
                    self.register_buffer(plain(name), tensor.clone())
                else:
                    self.register_parameter(plain(name), nn.Parameter(tensor.clone()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.program.run(lambda op, *inputs: getattr(self, "op_" + op.kind)(op, *inputs), x)

    def weights(self, op: Op) -> list[Any]:
        return [getattr(self, plain(name)) if name else None for name in op.weights]

    def op_conv2d(self, op: Op, x: Any) -> Any:
        x, padding = padded(op, x, 0.0)
        w, b = (*self.weights(op), None)[:2]
        return F.conv2d(x, w, b, tuple(op["strides"]), padding, tuple(op["dilation"]), op["groups"])

    def op_dense(self, op: Op, x: Any) -> Any:
        return F.linear(x, *self.weights(op))

    def op_max_pool2d(self, op: Op, x: Any) -> Any:
        x, padding = padded(op, x, -torch.inf)
        return F.max_pool2d(x, tuple(op["pool_size"]), tuple(op["strides"]), padding)

    def op_avg_pool2d(self, op: Op, x: Any) -> Any:
        window = tuple(op["pool_size"]), tuple(op["strides"])
        if symmetric(op):
            top, _, left, _ = op["padding"]
            return F.avg_pool2d(x, *window, (top, left), count_include_pad=False)
        counted, _ = padded(op, torch.ones_like(x[:1, :1]), 0.0)
        return F.avg_pool2d(padded(op, x, 0.0)[0], *window) / F.avg_pool2d(counted, *window)

    def op_global_avg_pool2d(self, op: Op, x: Any) -> Any:
        return x.mean((2, 3))

    def op_reshape(self, op: Op, x: Any) -> Any:
        x = x.permute(0, 2, 3, 1) if x.ndim == 4 else x  # no copy in channels_last
        return x.reshape(x.shape[0], -1)

    def op_add(self, op: Op, a: Any, b: Any) -> Any:
        return a + b

    def op_softmax(self, op: Op, x: Any) -> Any:
        return F.softmax(x, dim=1)

    def op_dropout(self, op: Op, x: Any) -> Any:
        return F.dropout(x, op["rate"]) if op["rate"] else x

    def op_activation(self, op: Op, x: Any) -> Any:
        kind, alone = op["kind"], self.uses[op.inputs[0]] == 1
        if kind in ("relu", "relu6"):  # in place where nobody else reads x, as torchvision does
            return getattr(F, kind)(x, inplace=alone)
        if kind in ("leaky_relu", "elu"):
            return getattr(F, kind)(x, op["alpha"])
        return getattr(torch, kind)(x)

    def op_batch_norm_training(self, op: Op, x: Any) -> Any:
        mean, variance = (getattr(self, plain(name)) for name in op["moving"])
        gamma, beta = self.weights(op)
        return F.batch_norm(x, mean, variance, gamma, beta, True, 1 - op["momentum"], op["epsilon"])

    def op_batch_norm_inference(self, op: Op, x: Any) -> Any:
        gamma, beta, mean, variance = self.weights(op)
        return F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, op["epsilon"])


def plain(name: str) -> str:
    """A weight's name as an attribute."""
    return "w_" + "".join(c if c.isalnum() else "_" for c in name)


def padded(op: Op, x: Any, value: float) -> tuple[Any, tuple[int, int]]:
    """x and the padding that is left for the op; it knows symmetric padding only."""
    top, bottom, left, right = op["padding"]
    if symmetric(op):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


class PyTorch(Adapter):
    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def variants(self, task: Task) -> list[str]:
        if task.mode == "train":
            return [f"{how}, {format}" for how in ("eager", "compile") for format in FORMATS]
        names = [f"eager, {format}" for format in FORMATS]
        names += [f"{how}, {format}" for how in ("jit", "compile") for format in FORMATS]
        return [*names, "compile and freeze, channels_first"]

    def _make(self, task: Task, variant: str) -> tuple[Net, torch.Tensor]:
        memory = FORMATS["channels_last" if "channels_last" in variant else "channels_first"]
        net = Net(task.program, task.weights).to(memory_format=memory)
        x = torch.from_numpy(task.x)
        x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
        return net, x.contiguous(memory_format=memory) if x.ndim == 4 else x.contiguous()

    def train(self, task: Task, variant: str, optimizer: str) -> Step:
        net, x = self._make(task, variant)
        y = torch.from_numpy(task.y).long()
        run = torch.compile(net) if variant.startswith("compile") else net
        rule: torch.optim.Optimizer
        if optimizer == "adam":
            betas = ADAM["beta_1"], ADAM["beta_2"]
            rule = torch.optim.Adam(
                net.parameters(), ADAM["learning_rate"], betas, ADAM["epsilon"], fused=True
            )
        else:
            rule = torch.optim.SGD(net.parameters(), SGD_RATE)

        def step() -> float:
            rule.zero_grad(set_to_none=True)
            loss = F.cross_entropy(run(x), y)
            loss.backward()
            rule.step()
            return loss.item()

        return step

    def predict(self, task: Task, variant: str) -> Step:
        net, x = self._make(task, variant)
        net.requires_grad_(False).eval()
        run: Any = net
        if variant.startswith("jit"):
            with torch.no_grad():
                run = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, x)))
        elif variant.startswith("compile"):
            freeze = {"freezing": True} if "freeze" in variant else None
            run = torch.compile(net, options=freeze)

        def step() -> Any:
            with torch.inference_mode():
                return run(x).numpy()

        return step


if __name__ == "__main__":
    serve(PyTorch)
