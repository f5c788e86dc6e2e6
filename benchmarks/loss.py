"""Loss and backward of an output head against full-logits cross-entropy, in float32.

    python benchmarks/loss.py               vocabulary 128,000, 4,096 supervised tokens, hidden 384
    python benchmarks/loss.py --tokens 512 --vocab 32000 --repeats 3

Two of ours: `unknown` makes the logits again in backward, so that weights may follow from the losses; `known` has its
weights beforehand (uniform) and makes the gradient together with the loss. The peer is cross_entropy(linear(h, W)).

Memory is what one pass adds to the process at its highest point, as the kernel counts it (VmHWM, set back before the
pass), in a process of its own; the weight's gradient is taken off, hidden states and weight were there before. Linux
only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from curricle.losses import token_losses, weighted_loss
from harness import compare_times, figure, versioned


def full_logits(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(linear(hidden, weight), targets, reduction="sum")


def unknown_weights(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return token_losses(hidden, weight, targets).sum()


def known_weights(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return weighted_loss(hidden, weight, targets)[0]


PATHS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "peer": full_logits,
    "unknown": unknown_weights,
    "known": known_weights,
}
TIME_TARGETS = {"unknown": 1.5, "known": 1.1}


def make_inputs(num_tokens: int, vocab: int, hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    make = torch.Generator().manual_seed(0)
    hidden_nh = torch.randn(num_tokens, hidden, generator=make).requires_grad_()
    weight_vh = torch.randn(vocab, hidden, generator=make).mul_(0.05).requires_grad_()
    return hidden_nh, weight_vh, torch.randint(vocab, (num_tokens,), generator=make)


def one_pass(path: str, inputs: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
    """Loss and both gradients, from no gradient at all."""
    hidden, weight, _ = inputs
    hidden.grad = weight.grad = None
    loss = PATHS[path](*inputs)
    loss.backward()
    return [loss.detach(), hidden.grad, weight.grad]


def largest_difference(path: str, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    """Over the loss and both gradients, each relative to its own largest entry."""
    pairs = zip(one_pass(path, inputs), one_pass("peer", inputs), strict=True)
    return max(((ours - peer).abs().max() / peer.abs().max()).item() for ours, peer in pairs)


def status(field: str) -> int:
    """Bytes of a field of /proc/self/status, such as VmRSS (now) or VmHWM (highest)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def bytes_above(path: str, num_tokens: int, vocab: int, hidden: int) -> int:
    """Memory of one pass above its inputs, its weight and its weight's gradient; for a process of its own."""
    one_pass(path, make_inputs(8, 64, 16))  # threads and libraries are there before the count begins
    inputs = make_inputs(num_tokens, vocab, hidden)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # sets the highest point back to now
    one_pass(path, inputs)
    return status("VmHWM") - before - inputs[1].nbytes


def measure_apart(path: str, sizes: list[int]) -> int:
    command = [sys.executable, __file__, "--memory-of", path]
    for name, size in zip(("--tokens", "--vocab", "--hidden"), sizes, strict=True):
        command += [name, str(size)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocab", type=int, default=128_000)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-of", choices=PATHS, help="print the bytes of one path and stop")
    arguments = parser.parse_args()
    sizes = [arguments.tokens, arguments.vocab, arguments.hidden]
    if arguments.memory_of:
        print(bytes_above(arguments.memory_of, *sizes))
        return
    peer_version = versioned("torch")
    peer_bytes = measure_apart("peer", sizes)
    for path in TIME_TARGETS:
        figure(
            f"loss.{path}.bytes",
            ours=measure_apart(path, sizes),
            peer=peer_bytes,
            peer_version=peer_version,
            target=0.2,
            direction="at_most",
        )
    inputs = make_inputs(*sizes)
    for path, target in TIME_TARGETS.items():
        difference = largest_difference(path, inputs)
        figure(f"loss.{path}.difference", ours=difference, target=1e-5, direction="at_most")
        compare_times(
            f"loss.{path}.time",
            partial(one_pass, path, inputs),
            partial(one_pass, "peer", inputs),
            target=target,
            direction="at_most",
            peer_version=peer_version,
            repeats=arguments.repeats,
        )


if __name__ == "__main__":
    main()
