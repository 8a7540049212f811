# SPDX-License-Identifier: Apache-2.0
"""The command pycnn, run in this process; the job a newcomer runs, at its full length."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

import pycnn
from pycnn import cli, datasets, recipes, viz


@pytest.fixture(autouse=True)
def _global_state():
    yield
    pycnn.set_seed(0)
    pycnn.set_num_threads(0)


def accuracy_of(out):
    match = re.search(r"test accuracy (\d+\.\d+) % \((\d+) of (\d+)\)", out)
    assert match, out
    assert float(match[1]) == pytest.approx(100 * int(match[2]) / int(match[3]), abs=0.01)
    return float(match[1])


@pytest.mark.parametrize("seed", range(5))
def test_train_digits_reaches_98_percent(seed, tmp_path, capsys):
    arguments = ["train", "digits", "--seed", str(seed), "--output", str(tmp_path), "--quiet"]
    assert cli.main([*arguments, "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert accuracy_of(out) >= 98
    assert len(out.splitlines()) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["digits.png", "digits.pycnn"]
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    model = pycnn.load_model(tmp_path / "digits.pycnn")
    (x_test, y_test) = datasets.load_digits()[1]
    assert 100 * model.evaluate(x_test, y_test, verbose=0)[1] == pytest.approx(
        accuracy_of(out), abs=0.01
    )


def test_train_shows_one_line_an_epoch_and_repeats_itself(tmp_path, capsys):
    files = []
    for name in ("a", "b"):
        folder = tmp_path / name
        assert cli.main(["train", "digits", "--epochs", "2", "--output", str(folder)]) == 0
        files.append((folder / "digits.pycnn").read_bytes())
        out = capsys.readouterr().out
        assert [line.split(" - ")[0] for line in out.splitlines()[:2]] == ["Epoch 1/2", "Epoch 2/2"]
    assert files[0] == files[1]


def test_train_without_matplotlib(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    arguments = ["train", "digits", "--epochs", "1", "--output", str(tmp_path), "--quiet"]
    assert cli.main(arguments) == 0
    assert "picture: none, it needs matplotlib" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["digits.pycnn"]


def test_train_mnist_names_missing_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PYCNN_HOME", str(tmp_path))
    assert cli.main(["train", "mnist", "--output", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pycnn: load_mnist: ")
    assert "train-images-idx3-ubyte" in error
    assert not (tmp_path / "out").exists()


def test_train_mnist_on_a_few_images(tmp_path, capsys, monkeypatch):
    generator = np.random.default_rng(0)
    y = np.arange(48, dtype=np.uint8) % 10
    x = generator.integers(0, 256, (48, 28, 28), dtype=np.uint8)
    monkeypatch.setattr(datasets, "load_mnist", lambda: ((x, y), (x, y)))
    arguments = ["train", "mnist", "--epochs", "1", "--batch-size", "16", "--quiet"]
    assert cli.main([*arguments, "--output", str(tmp_path)]) == 0
    assert "mnist: test accuracy" in capsys.readouterr().out
    assert (tmp_path / "mnist.png").exists()


def test_without_mistakes_the_picture_is_drawn_too(tmp_path):
    images, y = np.zeros((3, 4, 4, 3)), np.array([0, 1, 1])
    history = {"loss": [1.0], "accuracy": [1.0]}
    viz.save_report(tmp_path / "a.png", "title", history, images, y, np.eye(2)[y])
    assert (tmp_path / "a.png").exists()
    np.testing.assert_array_equal(viz.confusion_matrix(y, np.array([1, 1, 0]), 2), [[0, 1], [1, 1]])


def test_info(capsys):
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    assert f"pycnn {pycnn.__version__}" in out
    assert f"instruction sets: {', '.join(pycnn.isas())}" in out
    assert "kernels, scalar: brgemm" in out


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["train"], ["train", "cats"], ["train", "digits", "--epochs", "0"]],
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: pycnn" in capsys.readouterr().err


def test_version_and_help(capsys):
    for arguments, text in ((["--version"], f"pycnn {pycnn.__version__}"), (["-h"], "bench")):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 0
        assert text in capsys.readouterr().out


def test_bad_seeds_and_interrupts(capsys, monkeypatch):
    assert cli.main(["train", "digits", "--seed", "-1"]) == 1
    assert "pycnn: set_seed: seed must be" in capsys.readouterr().err

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipes, "run", interrupt)
    assert cli.main(["train", "digits"]) == 130
    assert "interrupted" in capsys.readouterr().err
