"""summary: what it counts, and that the model is afterwards as it was before."""

import pytest

import dynjax as torch
from dynjax import nn


class Twice(nn.Module):
    """One layer called twice, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.w = nn.Parameter(torch.zeros(2, 3))

    def forward(self, x, scale=1.0):
        return self.a(self.a(x)) @ self.w.T * scale


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Sequential(nn.Dropout(0.5), nn.Linear(8 * 64, 10)),
    )


def test_counts():
    found = torch.summary(convolutional(), (4, 1, 8, 8))
    assert found.total_params == found.trainable_params == (9 + 1) * 8 + 2 * 8 + 513 * 10
    # convolution: weights and biases at 64 places of 4 images
    assert found.total_mult_adds == 80 * 4 * 64 + 16 * 4 + 5130 * 4
    assert found.total_input == 4 * 64 * 4 and found.total_param_bytes == 4 * found.total_params
    assert found.total_output_bytes == 2 * 4 * (2 * 4 * 8 * 64 + 4 * 10)
    rows = [(r.class_name, r.var_name, r.depth, r.output_size) for r in found.summary_list]
    assert rows[:2] == [("Sequential", "", 0, [4, 10]), ("Conv2d", "0", 1, [4, 8, 8, 8])]
    assert rows[-1] == ("Linear", "1", 2, [4, 10])


def test_a_layer_called_twice_is_counted_once_and_works_twice():
    found = torch.summary(Twice(), torch.ones(5, 3))
    first, again = found.summary_list[1:]
    assert (first.is_recursive, again.is_recursive) == (False, True)
    assert found.total_params == 12 + 6 and found.total_mult_adds == 2 * 5 * 12
    assert "(recursive)" in str(found)


def test_positions_of_sequences_count():
    assert torch.summary(nn.Linear(3, 2), (5, 7, 3)).total_mult_adds == 5 * 7 * (3 + 1) * 2
    ids = torch.zeros(2, 3, dtype=torch.int64)
    assert torch.summary(nn.Embedding(9, 4), ids).total_mult_adds == 0


def test_inputs():
    model = Twice()
    by_name = torch.summary(model, {"x": torch.ones(2, 3), "scale": 2.0})
    by_keyword = torch.summary(model, torch.ones(2, 3), scale=2.0)
    by_size = torch.summary(model, input_size=[(2, 3)])
    assert {(2, 3)} == {*by_name.input_size, *by_keyword.input_size, *by_size.input_size}
    bilinear = torch.summary(nn.Bilinear(2, 3, 4), [(5, 2), (5, 3)])
    assert bilinear.input_size == [(5, 2), (5, 3)]
    ids = torch.summary(nn.Embedding(9, 4), (2,), dtypes=[torch.int64])
    assert ids.summary_list[0].output_size == [2, 4]


def test_text():
    model = convolutional()
    model[0].requires_grad_(False)
    columns = ("input_size", "output_size", "kernel_size", "num_params", "mult_adds", "trainable")
    text = str(torch.summary(model, (4, 1, 8, 8), col_names=columns, depth=1))
    lines = text.splitlines()
    header = "Input Shape Output Shape Kernel Shape Param # Mult-Adds Trainable"
    assert lines[1].split() == ["Layer", "(type:depth-idx)", *header.split()]
    assert lines[4].startswith("├─Conv2d (0): 1-1") and lines[4].endswith("False")
    assert "[4, 1, 8, 8]" in lines[4] and "[3, 3]" in lines[4] and "20,480" in lines[4]
    assert "Dropout" not in text and "Partial" in lines[3]
    # where the table ends, a row stands for all below it
    assert lines[8].split()[:3] == ["├─Sequential", "(4):", "1-5"]
    assert lines[8].split()[-3:] == ["5,130", "20,520", "True"]
    whole = str(torch.summary(model, (4, 1, 8, 8), depth=0)).splitlines()
    assert whole[3].split()[-2:] == ["5,226", "41,064"] and whole[4].startswith("=")
    assert "├─Linear (1): 2-2" in str(torch.summary(model, (4, 1, 8, 8), depth=2))
    assert "Total params: 5,226\nTrainable params: 5,146\nNon-trainable params: 80\n" in text
    assert "Total mult-adds (M): 0.04" in text and "Params size (MB): 0.02" in text


def test_prints_if_asked_to(capsys):
    found = torch.summary(nn.Linear(1, 1), (1, 1), verbose=1)
    assert capsys.readouterr().out == f"{found}\n"


@pytest.mark.parametrize("size", [(4, 1, 8, 8), (4, 2, 8, 8)], ids=["runs", "fails"])
@pytest.mark.parametrize("mode", ["eval", "train", "same"])
def test_the_model_is_as_before(size, mode):
    model = convolutional()
    model[4].eval()
    hook = model[0].register_forward_hook(lambda *_: None)
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    if size[1] == 1:
        torch.summary(model, size, mode=mode)
    else:
        with pytest.raises(RuntimeError, match="to have 1 channels, but got 2 channels") as failed:
            torch.summary(model, size, mode=mode)
        assert any("Conv2d '0' in Sequential" in note for note in failed.value.__notes__)
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert [len(module._forward_hooks) for module in model.modules()] == [0, 1, 0, 0, 0, 0, 0, 0]
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    hook.remove()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "needs an input"),
        ({"input_size": 3}, "must be a shape"),
        ({"input": (1, 1), "mode": "x"}, "'eval', 'train' or 'same', not 'x'"),
        ({"input": (1, 1), "col_names": ["flops"]}, "column 'flops' is unknown"),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        torch.summary(nn.Linear(1, 1), **arguments)
