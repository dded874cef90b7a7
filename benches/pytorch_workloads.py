"""The nine workloads of the benchmark in PyTorch, written as its users write them.

    python pytorch_workloads.py --workload cnn [--compile] [--threads 2] [--steps 20] [--batch N] [--length N]

times whole training steps (forward, loss, backward, AdamW) and prints one line of JSON: the median and the quartiles in
milliseconds, and the largest memory that the process had resident.

    python pytorch_workloads.py --workload cnn --export cnn.safetensors

writes the initial weights (`param.NAME`, with the names of the state_dict) and the batch (`batch.input`, ...) instead,
and prints the loss and the norm of the gradient of each of three steps on them, for another program to agree with.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pytorch_networks as networks

WARM_UP = 3
CHECKED_STEPS = 3
CHARACTERS = 65
VOCABULARY = 8000


@dataclass
class Workload:
    """Networks, the batch they are trained on, and one training step, which returns its losses."""

    modules: dict[str, nn.Module]  # by the prefix of their names; "" where there is one
    batch: dict[str, Tensor]
    optimizers: list[torch.optim.Optimizer]
    step: Callable[[], list[Tensor]]


@dataclass
class Size:
    """What the command line may change: `None` is the workload's own."""

    batch: int | None
    length: int | None

    def shape(self, batch: int, length: int) -> tuple[int, int]:
        return self.batch or batch, self.length or length


def adamw(*modules: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    parameters = [parameter for module in modules for parameter in module.parameters()]
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01)


def supervised(modules: dict[str, nn.Module], batch: dict[str, Tensor], loss, wrap) -> Workload:
    """Trains the modules, one after the other, to bring `loss` of their output down. `wrap` may compile the first."""
    optimizer = adamw(*modules.values())
    inputs = [tensor for name, tensor in batch.items() if name != "target"]
    if "source" in batch:
        inputs.append(batch["target"])
    body, *rest = modules.values()
    body = wrap(body)

    def step():
        optimizer.zero_grad()
        output = body(*inputs)
        if isinstance(output, tuple):  # recurrent layers return their last state too
            output = output[0]
        for module in rest:
            output = module(output)
        value = loss(output, batch["target"])
        value.backward()
        optimizer.step()
        return [value.detach()]

    return Workload(modules, batch, [optimizer], step)


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over all positions of all sequences."""
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def images(size: Size, samples: int, channels: int, side: int) -> dict[str, Tensor]:
    """Random images with a class of ten for each."""
    samples = size.batch or samples
    return {"input": torch.randn(samples, channels, side, side), "target": torch.randint(10, (samples,))}


def cnn(size: Size, wrap) -> Workload:
    return supervised({"": networks.cnn()}, images(size, 64, 1, 28), F.cross_entropy, wrap)


def resnet18(size: Size, wrap) -> Workload:
    return supervised({"": networks.resnet18()}, images(size, 32, 3, 32), F.cross_entropy, wrap)


def unet(size: Size, wrap) -> Workload:
    shape = (size.batch or 4, 1, 128, 128)
    batch = {"input": torch.randn(shape), "target": torch.rand(shape).round()}
    return supervised({"": networks.UNet()}, batch, F.binary_cross_entropy_with_logits, wrap)


def sequences(size: Size) -> dict[str, Tensor]:
    """Sequences of 128 features, with a class for every step."""
    batch, length = size.shape(32, 64)
    return {"input": torch.randn(batch, length, 128), "target": torch.randint(CHARACTERS, (batch, length))}


def lstm(size: Size, wrap) -> Workload:
    modules = {"model.": nn.LSTM(128, 256, batch_first=True), "head.": nn.Linear(256, CHARACTERS)}
    return supervised(modules, sequences(size), token_loss, wrap)


def bigru(size: Size, wrap) -> Workload:
    gru = nn.GRU(128, 256, num_layers=2, batch_first=True, bidirectional=True)
    modules = {"model.": gru, "head.": nn.Linear(2 * 256, CHARACTERS)}
    return supervised(modules, sequences(size), token_loss, wrap)


def gpt(size: Size, wrap, layers: int, heads: int, width: int, context: int, batch: int) -> Workload:
    shape = size.shape(batch, context)
    ids = {"input": torch.randint(CHARACTERS, shape), "target": torch.randint(CHARACTERS, shape)}
    return supervised({"": networks.Gpt(CHARACTERS, layers, heads, width, context=shape[1])}, ids, token_loss, wrap)


def gpt_small(size: Size, wrap) -> Workload:
    return gpt(size, wrap, layers=4, heads=4, width=128, context=64, batch=12)


def gpt_baby(size: Size, wrap) -> Workload:
    return gpt(size, wrap, layers=6, heads=6, width=384, context=256, batch=4)


def seq2seq(size: Size, wrap) -> Workload:
    shape = (size.batch or 64, 24)
    batch = {"source": torch.randint(VOCABULARY, shape), "target": torch.randint(VOCABULARY, shape)}
    return supervised({"": networks.Translator(VOCABULARY, 256, shape[1])}, batch, token_loss, wrap)


def dcgan(size: Size, wrap) -> Workload:
    """One step of the critic, on real and generated images, and one of the generator."""
    samples = size.batch or 64
    modules = {"generator.": networks.generator(), "critic.": networks.critic()}
    optimizers = [adamw(modules["critic."], lr=2e-4), adamw(modules["generator."], lr=2e-4)]
    generator, critic = wrap(modules["generator."]), wrap(modules["critic."])
    bce = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(samples, 1), torch.zeros(samples, 1)
    real = torch.randn(samples, 1, 32, 32)
    batch = {"real": real} | {f"noise.{i}": torch.randn(samples, 64, 1, 1) for i in range(CHECKED_STEPS)}
    given = []  # noise that a check wants in place of fresh noise

    def step():
        fake = generator(given.pop(0) if given else torch.randn(samples, 64, 1, 1))
        for_critic, for_generator = optimizers
        for_critic.zero_grad()
        critic_loss = bce(critic(real), ones) + bce(critic(fake.detach()), zeros)
        critic_loss.backward()
        for_critic.step()
        for_generator.zero_grad()
        generator_loss = bce(critic(fake), ones)
        generator_loss.backward()
        for_generator.step()
        return [critic_loss.detach(), generator_loss.detach()]

    step.given = given
    return Workload(modules, batch, optimizers, step)


WORKLOADS = {
    "cnn": cnn,
    "lstm": lstm,
    "gpt-small": gpt_small,
    "gpt-baby": gpt_baby,
    "dcgan": dcgan,
    "resnet18": resnet18,
    "unet": unet,
    "bigru": bigru,
    "seq2seq": seq2seq,
}


def export(build: Callable[[], Workload], path: str) -> dict:
    """Writes the weights and the batch, then takes the steps that another program is to repeat.

    The same steps in double precision are the `exact` values. Adam's first updates are near plus or minus the rate for
    every weight, whatever the size of its gradient, so rounding in a gradient near zero moves what follows. How far
    this program is from the exact values says how near another one can be expected to come.
    """
    from safetensors.torch import save_file

    workload = build()
    torch.set_default_dtype(torch.float64)
    exact = build()
    for name, tensor in workload.batch.items():
        exact.batch[name].copy_(tensor)
    parameters = {}
    for prefix, module in workload.modules.items():
        state = module.state_dict()
        exact.modules[prefix].load_state_dict(state)
        parameters |= {f"param.{prefix}{name}": tensor for name, tensor in state.items()}
    save_file(parameters | {f"batch.{name}": tensor for name, tensor in workload.batch.items()}, path)
    return checked_steps(workload) | {f"exact_{name}": values for name, values in checked_steps(exact).items()}


def checked_steps(workload: Workload) -> dict[str, list[float]]:
    """The losses and the norms of the gradients of the first steps."""
    norms: list[float] = []

    def note_norm(optimizer, *_):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(torch.nn.utils.get_total_norm(gradients).item())

    for optimizer in workload.optimizers:
        optimizer.register_step_pre_hook(note_norm)
    if "noise.0" in workload.batch:
        workload.step.given.extend(workload.batch[f"noise.{i}"] for i in range(CHECKED_STEPS))
    losses = [loss.item() for _ in range(CHECKED_STEPS) for loss in workload.step()]
    return {"losses": losses, "gradient_norms": norms}


def measure(workload: Workload, steps: int) -> dict:
    for _ in range(WARM_UP):
        workload.step()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        workload.step()
        times.append((time.perf_counter() - start) * 1e3)
    first, median, third = statistics.quantiles(times, n=4, method="inclusive")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "median_ms": round(median, 4),
        "quartiles_ms": [round(first, 4), round(third, 4)],
        "peak_rss_bytes": peak if sys.platform == "darwin" else peak * 1024,  # Linux counts in KiB
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", required=True, choices=WORKLOADS, help="the network to train")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--threads", type=int, default=2, help="threads of an operation (2)")
    parser.add_argument("--steps", type=int, default=20, help="measured steps, 2 or more (20)")
    parser.add_argument("--batch", type=int, help="samples in a batch, in place of the workload's own number")
    parser.add_argument("--length", type=int, help="steps of a sequence (lstm, bigru, gpt-*)")
    parser.add_argument("--export", metavar="FILE", help="write weights and batch, and print what three steps give")
    arguments = parser.parse_args()
    if arguments.length and not arguments.workload.startswith(("lstm", "bigru", "gpt")):
        parser.error(f"--length: {arguments.workload} has no sequence whose length could change")
    return arguments


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    wrap = torch.compile if arguments.compile and not arguments.export else lambda module: module

    def build() -> Workload:
        torch.manual_seed(0)
        return WORKLOADS[arguments.workload](Size(arguments.batch, arguments.length), wrap)

    about = {"workload": arguments.workload, "compiled": arguments.compile, "torch": torch.__version__}
    result = export(build, arguments.export) if arguments.export else measure(build(), arguments.steps)
    print(json.dumps(about | result))


if __name__ == "__main__":
    main()
