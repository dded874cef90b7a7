"""One epoch through torchvision's data sets and PyTorch's DataLoader: flipped, cropped, normalised, shuffled.

    python pytorch_loading.py --loading mnist|cifar --data DIR [--workers 2] [--batch 256]

DIR is the root that torchvision's MNIST wants (with MNIST/raw), or the folder of CIFAR-10's images (train/CLASS/*.jpg).
Prints one line of JSON with the samples a second, from the opening of the files to the last batch.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torchvision
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

# Mean and deviation of the training images, by channel.
STATISTICS = {
    "mnist": ((0.1307,), (0.3081,)),
    "cifar": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
SIDE = {"mnist": 28, "cifar": 32}


def training_set(name: str, folder: Path) -> Dataset:
    transform = transforms.Compose([
        transforms.RandomHorizontalFlip(),
        transforms.RandomCrop(SIDE[name], padding=4),
        transforms.ToTensor(),
        transforms.Normalize(*STATISTICS[name]),
    ])
    if name == "mnist":
        return datasets.MNIST(folder, train=True, transform=transform)
    return datasets.ImageFolder(folder / "train", transform=transform)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loading", required=True, choices=STATISTICS, help="the data set")
    parser.add_argument("--data", required=True, type=Path, help="its folder")
    parser.add_argument("--workers", type=int, default=2, help="processes that load (2)")
    parser.add_argument("--batch", type=int, default=256, help="samples in a batch (256)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    start = time.perf_counter()
    samples = training_set(arguments.loading, arguments.data)
    count = 0
    for _, labels in DataLoader(samples, arguments.batch, shuffle=True, num_workers=arguments.workers):
        count += len(labels)
    seconds = time.perf_counter() - start
    print(json.dumps({
        "loading": arguments.loading,
        "samples": count,
        "samples_per_second": round(count / seconds, 1),
        "torchvision": torchvision.__version__,
    }))


if __name__ == "__main__":
    main()
