# SPDX-License-Identifier: Apache-2.0
"""Keras 3 on TensorFlow or JAX: `python -m peers.keras3 THREADS BACKEND`."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

BACKEND = os.environ["KERAS_BACKEND"] = sys.argv[2]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from keras import layers

from .program import Op, same_padding
from .worker import ADAM, SGD_RATE, Adapter, Step, Task, serve


class Builder:
    """Turns ops into calls of Keras layers; a method for each kind that is not one line."""

    def __init__(self, task: Task) -> None:
        self.weights = task.weights
        x = keras.Input(task.program.input_shape, batch_size=len(task.x))
        self.model = keras.Model(x, task.program.run(self.apply, x))

    def apply(self, op: Op, *inputs: Any) -> Any:
        return getattr(self, op.kind)(op, *inputs)

    def arrays(self, op: Op) -> list[Any]:
        return [self.weights[name] for name in op.weights if name]

    def filled(self, layer: Any, x: Any, arrays: list[Any]) -> Any:
        y = layer(x)
        layer.set_weights(arrays)
        return y

    def padded(self, op: Op, x: Any, value: float = 0.0) -> tuple[Any, str]:
        """x and the padding that is left for the layer; Keras knows "same" and "valid"."""
        if (known := self.known_padding(op, x)) is not None:
            return x, known
        top, bottom, left, right = op["padding"]
        if value == 0.0:
            return layers.ZeroPadding2D(((top, bottom), (left, right)))(x), "valid"
        sides = ((0, 0), (top, bottom), (left, right), (0, 0))
        return keras.ops.pad(x, sides, constant_values=value), "valid"

    def known_padding(self, op: Op, x: Any) -> str | None:
        """Keras' name of the padding, where it has one."""
        if not any(op["padding"]):
            return "valid"
        window = op.attributes.get("pool_size") or self.weights[op.weights[0]].shape[:2]
        same = same_padding(op, tuple(x.shape[1:3]), tuple(window))
        return "same" if same == list(op["padding"]) else None

    def conv2d(self, op: Op, x: Any) -> Any:
        x, padding = self.padded(op, x)
        w = self.weights[op.weights[0]]
        R, S, C, K = w.shape
        arguments = {
            "strides": tuple(op["strides"]),
            "padding": padding,
            "dilation_rate": tuple(op["dilation"]),
            "use_bias": len(self.arrays(op)) == 2,
        }
        groups = op["groups"]
        if groups > 1 and C == 1:  # depthwise: output k reads input k // (K / groups)
            layer = layers.DepthwiseConv2D((R, S), depth_multiplier=K // groups, **arguments)
            arrays = [w.reshape(R, S, groups, K // groups), *self.arrays(op)[1:]]
            return self.filled(layer, x, arrays)
        layer = layers.Conv2D(K, (R, S), groups=groups, **arguments)
        return self.filled(layer, x, self.arrays(op))

    def dense(self, op: Op, x: Any) -> Any:
        arrays = self.arrays(op)
        layer = layers.Dense(arrays[0].shape[1], use_bias=len(arrays) == 2)
        return self.filled(layer, x, arrays)

    def max_pool2d(self, op: Op, x: Any) -> Any:
        x, padding = self.padded(op, x, -np.inf)
        return layers.MaxPooling2D(tuple(op["pool_size"]), tuple(op["strides"]), padding)(x)

    def avg_pool2d(self, op: Op, x: Any) -> Any:
        padding = self.known_padding(op, x)
        if padding is None:
            raise NotImplementedError("Keras counts explicit padding in the mean")
        return layers.AveragePooling2D(tuple(op["pool_size"]), tuple(op["strides"]), padding)(x)

    def global_avg_pool2d(self, op: Op, x: Any) -> Any:
        return layers.GlobalAveragePooling2D()(x)

    def reshape(self, op: Op, x: Any) -> Any:
        return layers.Flatten()(x)

    def add(self, op: Op, a: Any, b: Any) -> Any:
        return layers.Add()([a, b])

    def softmax(self, op: Op, x: Any) -> Any:
        return layers.Softmax()(x)

    def dropout(self, op: Op, x: Any) -> Any:
        return layers.Dropout(op["rate"])(x) if op["rate"] else x

    def activation(self, op: Op, x: Any) -> Any:
        if op["kind"] == "leaky_relu":
            return layers.LeakyReLU(op["alpha"])(x)
        if op["kind"] == "elu":
            return layers.ELU(op["alpha"])(x)
        return layers.Activation(op["kind"])(x)

    def batch_norm_training(self, op: Op, x: Any) -> Any:
        moving = [self.weights[name] for name in op["moving"]]
        return self.batch_norm(op, x, [*self.arrays(op), *moving], momentum=op["momentum"])

    def batch_norm_inference(self, op: Op, x: Any) -> Any:
        return self.batch_norm(op, x, self.arrays(op), trainable=False)

    def batch_norm(self, op: Op, x: Any, arrays: list[Any], **settings: Any) -> Any:
        scale, center = (name is not None for name in op.weights[:2])
        settings |= {"scale": scale, "center": center, "epsilon": op["epsilon"]}
        return self.filled(layers.BatchNormalization(**settings), x, arrays)


def make_optimizer(name: str) -> Any:
    return keras.optimizers.Adam(**ADAM) if name == "adam" else keras.optimizers.SGD(SGD_RATE)


LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Keras(Adapter):
    """Keras' own train_on_batch, and what a TensorFlow or JAX user would write instead."""

    def versions(self) -> dict[str, str]:
        framework = __import__(BACKEND)
        return {"keras": keras.__version__, BACKEND: framework.__version__}

    def on_batch(self, task: Task, optimizer: str, jit: bool) -> Step:
        model = Builder(task).model
        model.compile(make_optimizer(optimizer), LOSS, jit_compile=jit)
        return lambda: float(model.train_on_batch(task.x, task.y))


class OnTensorFlow(Keras):
    def __init__(self, threads: int) -> None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)

    def variants(self, task: Task) -> list[str]:
        names = ["tf.function", "tf.function, XLA"]
        own = ["train_on_batch", "train_on_batch, XLA"] if task.mode == "train" else []
        return [*names, *own]

    def train(self, task: Task, variant: str, optimizer: str) -> Step:
        import tensorflow as tf

        jit = "XLA" in variant
        if variant.startswith("train_on_batch"):
            return self.on_batch(task, optimizer, jit)
        model, rule = Builder(task).model, make_optimizer(optimizer)
        rule.build(model.trainable_variables)
        x, y = tf.constant(task.x), tf.constant(task.y)

        @tf.function(jit_compile=jit)
        def step(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = LOSS(y, model(x, training=True))
            variables = model.trainable_variables
            rule.apply(tape.gradient(loss, variables), variables)
            return loss

        return lambda: float(step(x, y))

    def predict(self, task: Task, variant: str) -> Step:
        import tensorflow as tf

        model, x = Builder(task).model, tf.constant(task.x)
        run = tf.function(lambda x: model(x, training=False), jit_compile="XLA" in variant)
        return lambda: run(x).numpy()


class OnJax(Keras):
    """JAX has no setting for threads: it takes the processors the process may use."""

    def __init__(self, threads: int) -> None:
        pass

    def variants(self, task: Task) -> list[str]:
        return ["jax.jit", "train_on_batch"] if task.mode == "train" else ["jax.jit"]

    def train(self, task: Task, variant: str, optimizer: str) -> Step:
        import jax

        if variant == "train_on_batch":
            return self.on_batch(task, optimizer, jit=True)
        model, rule = Builder(task).model, make_optimizer(optimizer)
        rule.build(model.trainable_variables)
        x, y = jax.numpy.asarray(task.x), jax.numpy.asarray(task.y)

        def loss_of(trained: Any, others: Any, x: Any, y: Any) -> Any:
            logits, others = model.stateless_call(trained, others, x, training=True)
            return LOSS(y, logits), others

        def update(state: Any, x: Any, y: Any) -> Any:
            trained, others, slots = state
            gradient = jax.value_and_grad(loss_of, has_aux=True)
            (loss, others), gradients = gradient(trained, others, x, y)
            trained, slots = rule.stateless_apply(slots, gradients, trained)
            return loss, (trained, others, slots)

        run = jax.jit(update, donate_argnums=0)
        groups = model.trainable_variables, model.non_trainable_variables, rule.variables
        state = tuple([jax.numpy.array(v.value) for v in group] for group in groups)

        def step() -> float:
            nonlocal state
            loss, state = run(state, x, y)
            return float(loss)

        return step

    def predict(self, task: Task, variant: str) -> Step:
        import jax

        model, x = Builder(task).model, jax.numpy.asarray(task.x)
        groups = model.trainable_variables, model.non_trainable_variables
        state = tuple([v.value for v in group] for group in groups)
        run = jax.jit(lambda state, x: model.stateless_call(*state, x, training=False)[0])
        return lambda: np.asarray(run(state, x))


if __name__ == "__main__":
    serve({"tensorflow": OnTensorFlow, "jax": OnJax}[BACKEND])
