"""Exchanges weights of ResNet-18 with torchvision in both directions, and compares the logits.

torchvision's random weights, with running statistics of a training step, go through a safetensors file to our network;
ours go through the file that our parameter store saves to torchvision's `load_state_dict(strict=True)`. Run from the root
of the project with a Python that has torch, torchvision and safetensors:

    python tools/check_torchvision.py

Exits with 1 where a logit differs by more than 1e-4.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file, save_file

TOLERANCE = 1e-4
COMMAND = ["cargo", "run", "--quiet", "-p", "glassbox-cnn", "--example", "resnet_logits", "--"]


def main():
    torch.manual_seed(0)
    images = torch.randn(4, 3, 96, 96)
    theirs = torchvision.models.resnet18().train()
    theirs(images)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        folder = Path(folder)
        save_file(theirs.state_dict(), folder / "torchvision.safetensors")
        save_file({"images": images}, folder / "images.safetensors")
        subprocess.run([*COMMAND, str(folder)], check=True)
        logits = load_file(folder / "logits.safetensors")
        back = torchvision.models.resnet18()
        back.load_state_dict(load_file(folder / "ours.safetensors"), strict=True)
    with torch.no_grad():
        pairs = {"torchvision": theirs.eval()(images), "ours": back.eval()(images)}
    worst = 0.0
    for name, expected in pairs.items():
        difference = (logits[name] - expected).abs().max().item()
        worst = max(worst, difference)
        print(f"weights of {name}: logits up to {expected.abs().max().item():.3g}, largest difference {difference:.3g}")
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    sys.exit(not worst <= TOLERANCE)


if __name__ == "__main__":
    main()
