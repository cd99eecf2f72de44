"""A small GPT, character by character, on the docstrings of Python's own standard library.

python examples/char_gpt.py [--steps 1500] [--sample 400]
"""

import argparse
import importlib
import inspect
import time

import dynjax as torch
import dynjax.nn.functional as F
from dynjax import nn

MODULES = """argparse bisect calendar collections configparser contextlib copy csv datetime difflib
doctest email fractions functools heapq inspect ipaddress json logging pathlib pickle random re
shutil statistics string subprocess tempfile textwrap threading tokenize unittest""".split()


def load_text():
    """Docstrings of some modules, of their classes and functions; printable ASCII only."""
    pieces = []
    for name in MODULES:
        module = importlib.import_module(name)
        members = [member for _, member in sorted(vars(module).items()) if callable(member)]
        own = [member for member in members if getattr(member, "__module__", None) == name]
        methods = [value for member in own for value in getattr(member, "__dict__", {}).values()]
        pieces += [inspect.getdoc(item) for item in (module, *own, *filter(callable, methods))]
    text = "\n\n".join(piece for piece in dict.fromkeys(pieces) if piece)
    return "".join(c for c in text if c == "\n" or " " <= c <= "~")


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.project(x.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary, context, width=128, depth=2, heads=4):
        super().__init__()
        self.context = context
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens):
        positions = torch.arange(tokens.shape[1])
        x = self.tokens(tokens) + self.positions(positions)
        return self.head(self.norm(self.blocks(x)))


def random_batch(data, batch_size, context):
    """Random windows of data and the same windows one character on: two (batch, context)."""
    starts = torch.randint(len(data) - context - 1, (batch_size, 1))
    windows = data[starts + torch.arange(context + 1)]
    return windows[:, :-1], windows[:, 1:]


def train(model, data, steps, batch_size):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    start, recent = time.perf_counter(), []
    for step in range(1, steps + 1):
        inputs, targets = random_batch(data, batch_size, model.context)
        logits = model(inputs)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        recent.append(loss.detach())
        if step % 100 == 0 or step == steps:
            mean = torch.stack(recent).mean().item()
            seconds = time.perf_counter() - start
            print(f"step {step:4d}/{steps}  loss {mean:.3f}  {seconds:5.1f} s", flush=True)
            recent = []


@torch.no_grad()
def sample(model, prompt, length, temperature=0.7):
    """Continue prompt (context,) by length characters; the window slides, its size stays."""
    window, drawn = prompt, []
    for _ in range(length):
        logits = model(window.unsqueeze(0))[0, -1]
        following = torch.multinomial(F.softmax(logits / temperature, dim=-1), 1)
        window = torch.cat([window[1:], following])
        drawn.append(following.item())
    return drawn


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--sample", type=int, default=400, help="characters to write at the end")
    parser.add_argument("--context", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    text = load_text()
    alphabet = sorted(set(text))
    number = {character: i for i, character in enumerate(alphabet)}
    data = torch.tensor([number[character] for character in text])
    model = GPT(len(alphabet), arguments.context)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{len(text)} characters, {len(alphabet)} different; {parameters} parameters")

    train(model, data, arguments.steps, arguments.batch_size)

    prompt = data[: arguments.context]
    written = sample(model, prompt, arguments.sample)
    print("---\n" + text[: arguments.context] + "|" + "".join(alphabet[i] for i in written))


if __name__ == "__main__":
    main()
