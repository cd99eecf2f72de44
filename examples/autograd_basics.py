"""Autograd in a few lines: the tape is made by the code that runs.

python examples/autograd_basics.py
"""

import dynjax as torch


def smallest():
    """One addition: dy/dx = 1."""
    x = torch.tensor([1.0], requires_grad=True)
    y = x + 2
    y.backward()
    return y, x.grad


def accumulation():
    """Gradients add up until they are cleared: 3x^2 twice at x = 2 gives 24."""
    x = torch.tensor(2.0, requires_grad=True)
    for _ in range(2):
        (x**3).backward()
    return x.grad


def second_order():
    """A gradient is a tensor with a tape of its own: d2/dx2 of x^3 = 6x."""
    x = torch.tensor(2.0, requires_grad=True)
    (first,) = torch.autograd.grad(x**3, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    return first, second


def collatz(n):
    """How often the graph doubles or grows is decided by the values, on each call anew."""
    x = torch.tensor(float(n), requires_grad=True)
    y, steps = x, 0
    while y > 1:
        y = y / 2 if y % 2 == 0 else 3 * y + 1
        steps += 1
    y.backward()
    return steps, x.grad


def main():
    y, gradient = smallest()
    print("y =", y)
    print("made by", y.grad_fn.name(), "from", y.grad_fn.next_functions[0][0].name())
    print("dy/dx =", gradient)

    print("accumulated:", accumulation())

    first, second = second_order()
    print("first and second derivative of x^3 at 2:", first.item(), second.item())

    for n in (4, 5, 6):
        steps, gradient = collatz(n)
        print(f"collatz({n}): {steps} steps, d(end)/d(start) = {gradient.item()}")


if __name__ == "__main__":
    main()
