"""Each example runs as a user runs it: as a script, in a process of its own, without warnings."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(name, *arguments, warnings="error"):
    """Run an example; return (standard output, standard error)."""
    done = subprocess.run(
        [sys.executable, "-W", warnings, EXAMPLES / f"{name}.py", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def losses(output):
    return [float(number) for number in re.findall(r"loss ([0-9.]+)", output)]


def test_linear_regression():
    output, _ = run("linear_regression")
    assert len(losses(output)) == 100
    assert losses(output)[-1] < losses(output)[0] / 10
    slope, offset = map(float, re.search(r"y = ([\d.-]+) x \+ ([\d.-]+)", output).groups())
    assert slope == pytest.approx(3, abs=0.2)
    assert offset == pytest.approx(2, abs=0.7)
    assert re.search(r"prediction for x = 4: tensor\(\[\[1[345]\.\d+\]\]\)", output)


def test_model_class():
    output, _ = run("model_class")
    assert "(linear): Linear(in_features=1, out_features=1, bias=True)" in output
    assert losses(output)[-1] < 0.1
    assert float(output.split()[-1]) == pytest.approx(8, abs=0.6)


def test_relu_network_warns_as_pytorch_does():
    output, warned = run("relu_network", warnings="default")
    assert "UserWarning: Using a target size" in warned
    assert "likely lead to incorrect results due to broadcasting" in warned
    assert losses(output)[-1] < losses(output)[0]
    assert float(output.split()[-1]) < 0.1


def test_autograd_basics():
    assert run("autograd_basics")[0].splitlines() == [
        "y = tensor([3.], grad_fn=<AddBackward0>)",
        "made by AddBackward0 from torch::autograd::AccumulateGrad",
        "dy/dx = tensor([1.])",
        "accumulated: tensor(24.)",
        "first and second derivative of x^3 at 2: 12.0 12.0",
        "collatz(4): 2 steps, d(end)/d(start) = 0.25",
        "collatz(5): 5 steps, d(end)/d(start) = 0.1875",
        "collatz(6): 8 steps, d(end)/d(start) = 0.140625",
    ]


@pytest.mark.slow
def test_digits_reaches_97_percent_in_under_a_minute():
    pytest.importorskip("sklearn")
    output, _ = run("digits")
    accuracy, seconds = re.findall(r"accuracy ([\d.]+)% +([\d.]+) s", output)[-1]
    assert float(accuracy) >= 97
    # The promise is made for two free cores; here other tests run beside it.
    assert float(seconds) < 120


def test_mixed_precision_learns_with_half_the_bits():
    output, _ = run("mixed_precision")
    assert losses(output)[-1] < losses(output)[0] / 5
    assert re.search(r"scale (\d+)", output) and "bfloat16" in output


@pytest.mark.slow
def test_finetune_trains_the_head_alone(tmp_path):
    pytest.importorskip("sklearn")
    weights = str(tmp_path / "trunk.safetensors")
    first, _ = run("finetune", "--weights", weights)
    again, _ = run("finetune", "--weights", weights)
    assert "pretrained" in first and "pretrained" not in again
    for output in (first, again):
        assert "training 645 of" in output and "trunk unchanged" in output
        assert float(re.findall(r"accuracy ([\d.]+)%", output)[-1]) > 85  # 20 for knowing nothing


def test_early_stopping_stops_and_keeps_the_best():
    pytest.importorskip("sklearn")
    output, _ = run("early_stopping", "--epochs", "30", "--patience", "2")
    validation = losses(output)
    assert "stopped: no better for 2 epochs" in output and len(validation) < 30
    assert min(validation) == validation[-3]
    assert "Total params: 4,810" in output
    assert float(re.search(r"test accuracy ([\d.]+)%", output)[1]) > 90


def test_early_stopping_with_workers_reads_the_same():
    pytest.importorskip("sklearn")
    alone, _ = run("early_stopping", "--epochs", "2")
    by_workers, _ = run("early_stopping", "--epochs", "2", "--workers", "1")
    assert losses(alone) == losses(by_workers)


def test_multi_task_learns_both_tasks():
    pytest.importorskip("sklearn")
    output, _ = run("multi_task", "--epochs", "8")
    digits, ink = map(float, re.findall(r"(?:accuracy|explained) ([\d.]+)%", output))
    assert digits > 85 and ink > 80  # 10 and 0 for knowing nothing


def test_char_gpt_learns_and_writes():
    arguments = "--steps 40 --sample 20 --batch-size 4".split()
    output, _ = run("char_gpt", *arguments)
    assert losses(output)[-1] < 4.0  # log(96) = 4.56 for knowing nothing
    assert len(output.split("|", 1)[1]) >= 20


def test_graph_to_look_at_shows_the_branch_taken():
    listing, summary = run("graph_to_look_at")
    first, second = listing.strip().split("\n\n")
    assert "long.0" in first and "short" not in first
    assert "short" in second and "long" not in second
    assert summary.count("Graph(operations=") == 2


@pytest.mark.parametrize(("form", "start"), [("mermaid", "flowchart"), ("graphviz", "digraph")])
def test_graph_to_look_at_formats(form, start):
    output, _ = run("graph_to_look_at", "--format", form)
    assert output.startswith(start)
    assert "tanh" in output


@pytest.mark.slow
def test_random_depth_learns_at_every_depth():
    output, _ = run("random_depth")
    errors = list(map(float, re.findall(r"mean error ([\d.]+)", output)))
    assert len(errors) == 4
    assert max(errors) < 0.2  # 0.64 for always answering 0


def test_any_length_learns_with_few_programs():
    output, _ = run("any_length", "--steps", "40")
    assert losses(output)[-1] < losses(output)[0]
    assert int(re.search(r"(\d+) shapes", output)[1]) > 30
    assert output.count(" ms: ") <= 8


def test_adaptive_depth_learns_and_its_depth_varies():
    output, _ = run("adaptive_depth")
    accuracy, depth = re.search(r"accuracy ([\d.]+)% at depth (\d+)", output).groups()
    assert float(accuracy) >= 95
    depths = set(map(int, re.findall(r"depth +(\d+)", output)))
    assert len(depths) > 1 and max(depths) < 40


@pytest.mark.slow
def test_name_rnn_learns():
    output, _ = run("name_rnn", "--steps", "80", "--test", "4")
    assert len(losses(output)) == 10
    assert sum(losses(output)[-3:]) / 3 < 1.2  # log(4) = 1.39 for knowing nothing
    assert "accuracy on 4 new names" in output


@pytest.mark.slow
@pytest.mark.parametrize(("data", "classes"), [("python", 4), ("random", 2)])
def test_tree_lstm_runs_over_trees(data, classes):
    arguments = "--steps 3 --batch-size 2 --largest 5 --test 4".split()
    output, _ = run("tree_lstm", "--data", data, *arguments)
    assert losses(output)[0] == pytest.approx(math.log(classes), abs=0.5)
    assert "trees of up to 5 nodes" in output
    assert float(re.search(r"accuracy on 4 new trees: ([\d.]+)%", output)[1]) % 25 == 0


def test_every_example_has_a_test():
    tested = re.findall(r'run\("(\w+)"', Path(__file__).read_text())
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(tested)
