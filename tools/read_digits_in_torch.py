"""Reads the model that `cnn_digits` saved into PyTorch and measures it on scikit-learn's copy of the digits.

    cargo run --release --example cnn_digits
    python tools/read_digits_in_torch.py runs/cnn_digits/model.safetensors

Needs torch, safetensors and scikit-learn from PyPI.
"""

import sys
from collections import OrderedDict

import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import nn

model = nn.Sequential(OrderedDict(
    conv1=nn.Conv2d(1, 32, 3, padding=1), act1=nn.ReLU(), pool1=nn.MaxPool2d(2),
    conv2=nn.Conv2d(32, 64, 3, padding=1), act2=nn.ReLU(), pool2=nn.MaxPool2d(2),
    flatten=nn.Flatten(), fc1=nn.Linear(256, 128), act=nn.ReLU(), fc2=nn.Linear(128, 10),
))
model.load_state_dict(load_file(sys.argv[1]), strict=True)
model.eval()

digits = load_digits()
with torch.no_grad():
    logits = model(torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16)
accuracy = (logits.argmax(1) == torch.tensor(digits.target)).float().mean().item()
print(f"torch {torch.__version__}: accuracy {accuracy:.4f} on all {len(digits.target)} digits (four fifths were trained on)")
