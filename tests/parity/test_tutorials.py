"""The examples on PyTorch and on dynjax: from equal weights and data, equal losses.

The source that runs on PyTorch is the example's own, with nothing changed but the import.
"""

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import dynjax

torch = pytest.importorskip("torch")

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name, library):
    """The namespace of an example whose imports of dynjax name `library` instead."""
    source = (EXAMPLES / f"{name}.py").read_text()
    source = re.sub(r"^(import|from) dynjax\b", rf"\1 {library.__name__}", source, flags=re.M)
    namespace = {"__name__": f"{name}_on_{library.__name__}"}
    exec(compile(source, f"{name}.py on {library.__name__}", "exec"), namespace)
    return SimpleNamespace(**namespace)


def both(name):
    return load(name, torch), load(name, dynjax)


def ours(tensor):
    """A PyTorch tensor's data as a dynjax tensor."""
    return dynjax.from_numpy(tensor.detach().numpy().copy())


def copy_weights(model, source):
    state = {key: ours(value) for key, value in source.state_dict().items()}
    assert str(model.load_state_dict(state)) == "<All keys matched successfully>"


def close(actual, expected, rtol=1e-4):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "epochs"), [("linear_regression", 100), ("model_class", 500), ("relu_network", 40)]
)
def test_training_prints_the_same_losses(name, epochs, capsys):
    on_torch, on_dynjax = both(name)
    torch.manual_seed(0)
    x, y = on_torch.make_data()
    model, our_model = on_torch.make_model(), on_dynjax.make_model()
    copy_weights(our_model, model)
    assert repr(our_model) == repr(model)

    warned = []
    runs = ((on_torch, model, x, y), (on_dynjax, our_model, ours(x), ours(y)))
    outputs, losses = [], []
    for example, a_model, inputs, targets in runs:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            losses.append(example.train(a_model, inputs, targets, epochs))
        outputs.append(re.findall(r"loss ([\d.]+)", capsys.readouterr().out))
        warned.append({(w.category, str(w.message)) for w in caught})

    close(losses[1], losses[0])
    assert len(outputs[1]) == len(outputs[0])
    close(np.float64(outputs[1]), np.float64(outputs[0]), rtol=1e-3)
    assert warned[1] == warned[0]
    assert bool(warned[0]) == (name == "relu_network")
    for (key, value), (our_key, our_value) in zip(
        model.state_dict().items(), our_model.state_dict().items(), strict=True
    ):
        assert our_key == key
        close(our_value.numpy(), value.numpy(), rtol=1e-3)


def test_autograd_basics(capsys):
    for example in both("autograd_basics"):
        example.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]


def compare_steps(model, our_model, optimizers, loss, our_loss, steps):
    """Train both by hand; compare every loss and, after the first step, every gradient."""
    for step in range(steps):
        for a_loss, optimizer in zip((loss, our_loss), optimizers, strict=True):
            optimizer.zero_grad()
            a_loss().backward()
            optimizer.step()
        if step == 0:
            for parameter, our_parameter in zip(
                model.parameters(), our_model.parameters(), strict=True
            ):
                scale = float(parameter.grad.abs().max())
                difference = our_parameter.grad.numpy() - parameter.grad.numpy()
                assert np.abs(difference).max() <= 1e-4 * scale + 1e-7
        close(our_loss().item(), loss().item(), rtol=1e-3)


def test_digits():
    pytest.importorskip("sklearn")
    on_torch, on_dynjax = both("digits")
    x, y, *_ = on_torch.load_data()
    our_x, our_y, *_ = on_dynjax.load_data()
    np.testing.assert_array_equal(our_x.numpy(), x.numpy())
    torch.manual_seed(0)
    model, our_model = on_torch.DigitsNet(), on_dynjax.DigitsNet()
    copy_weights(our_model, model)
    model.dropout.p = our_model.dropout.p = 0.0  # random numbers are not PyTorch's

    compare_steps(
        model,
        our_model,
        (
            torch.optim.Adam(model.parameters(), lr=2e-3),
            dynjax.optim.Adam(our_model.parameters(), lr=2e-3),
        ),
        lambda: on_torch.F.cross_entropy(model(x[:32]), y[:32]),
        lambda: on_dynjax.F.cross_entropy(our_model(our_x[:32]), our_y[:32]),
        steps=5,
    )
    close(
        on_dynjax.accuracy(our_model, our_x[:200], our_y[:200]),
        on_torch.accuracy(model, x[:200], y[:200]),
        rtol=0.02,
    )


def test_char_gpt():
    on_torch, on_dynjax = both("char_gpt")
    torch.manual_seed(0)
    tokens = torch.randint(20, (2, 9))
    our_tokens = ours(tokens)
    sizes = {"vocabulary": 20, "context": 8, "width": 16, "depth": 2, "heads": 2}
    model, our_model = on_torch.GPT(**sizes), on_dynjax.GPT(**sizes)
    copy_weights(our_model, model)

    def loss_of(example, a_model, numbers):
        logits = a_model(numbers[:, :-1])
        return example.F.cross_entropy(logits.flatten(0, 1), numbers[:, 1:].flatten())

    compare_steps(
        model,
        our_model,
        (
            torch.optim.AdamW(model.parameters(), lr=3e-3),
            dynjax.optim.AdamW(our_model.parameters(), lr=3e-3),
        ),
        lambda: loss_of(on_torch, model, tokens),
        lambda: loss_of(on_dynjax, our_model, our_tokens),
        steps=5,
    )
