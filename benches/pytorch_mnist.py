"""One epoch of MNIST as a PyTorch user writes it: the network, optimizer, schedule and batch of examples/cnn_mnist.rs.

    python pytorch_mnist.py --data DIR [--threads 2] [--seed 42]

DIR is a root as torchvision's MNIST wants it, with the four files under MNIST/raw. The last line is `result {json}`
with the accuracy on the test images and the seconds of training and testing.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

LEARNING_RATE = 0.01
BATCH = 256
WORKERS = 2


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 24, kernel_size=5, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 32, kernel_size=3, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(800, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )


def loaders(folder: str) -> tuple[DataLoader, DataLoader]:
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train = datasets.MNIST(folder, train=True, transform=transform)
    test = datasets.MNIST(folder, train=False, transform=transform)
    return (
        DataLoader(train, batch_size=BATCH, shuffle=True, num_workers=WORKERS),
        DataLoader(test, batch_size=1000, num_workers=WORKERS),
    )


def train(model: nn.Module, batches: DataLoader) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=(0.7, 0.9))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=LEARNING_RATE, total_steps=len(batches), cycle_momentum=False
    )
    model.train()
    for images, labels in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, batches: DataLoader) -> float:
    model.eval()
    correct = sum((model(images).argmax(1) == labels).sum().item() for images, labels in batches)
    return correct / len(batches.dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--threads", type=int, default=2, help="threads of an operation (2)")
    parser.add_argument("--seed", type=int, default=42, help="where all random numbers start (42)")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    training, test = loaders(arguments.data)
    model = network()
    train(model, training)
    score = accuracy(model, test)
    print("result", json.dumps({"accuracy": score, "seconds": round(time.perf_counter() - start, 3)}))


if __name__ == "__main__":
    main()
