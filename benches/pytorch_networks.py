"""The networks of the benchmark's workloads in PyTorch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def resnet18() -> nn.Module:
    """torchvision's, with the beginning that small images want: 3×3 with stride 1, and no pooling."""
    from torchvision.models import resnet18 as build

    model = build(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    layers = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, kernel_size=3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """16, 32 and 64 channels on the way down, 128 in the middle, and back up with the levels joined."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([double_conv(1, 16), double_conv(16, 32), double_conv(32, 64)])
        self.middle = double_conv(64, 128)
        self.up = nn.ModuleList([nn.ConvTranspose2d(c, c // 2, kernel_size=2, stride=2) for c in (128, 64, 32)])
        self.merge = nn.ModuleList([double_conv(c, c // 2) for c in (128, 64, 32)])
        self.out = nn.Conv2d(16, 1, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for down in self.down:
            kept.append(down(x))
            x = F.max_pool2d(kept[-1], 2)
        x = self.middle(x)
        for up, merge, level in zip(self.up, self.merge, reversed(kept)):
            x = merge(torch.cat([up(x), level], dim=1))
        return self.out(x)


class Block(nn.Module):
    """Causal attention, then a feed-forward layer; each normalised before, and added to what came in."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.ln1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.ln2 = nn.LayerNorm(width)
        self.fc = nn.Linear(width, 4 * width)
        self.out = nn.Linear(4 * width, width)

    def attend(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [batch, heads, length, width / heads]
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.ln1(x))
        return x + self.out(F.gelu(self.fc(self.ln2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary: int, layers: int, heads: int, width: int, context: int):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))


class Translator(nn.Module):
    """PyTorch's transformer between an embedding that both sides share and a head; no positions."""

    def __init__(self, vocabulary: int, width: int, length: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.transformer = nn.Transformer(
            width,
            nhead=8,
            num_encoder_layers=3,
            num_decoder_layers=3,
            dim_feedforward=512,
            dropout=0.0,
            batch_first=True,
        )
        self.head = nn.Linear(width, vocabulary)
        self.mask = nn.Transformer.generate_square_subsequent_mask(length)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        source, target = self.embedding(source), self.embedding(target)
        return self.head(self.transformer(source, target, tgt_mask=self.mask))


def generator() -> nn.Sequential:
    def up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
        return nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False)

    layers = [nn.ConvTranspose2d(64, 128, kernel_size=4, bias=False)]
    for inputs, outputs in ((128, 64), (64, 32), (32, 1)):
        layers += [nn.BatchNorm2d(inputs), nn.ReLU(), up(inputs, outputs)]
    return nn.Sequential(*layers, nn.Tanh())


def critic() -> nn.Sequential:
    def down(inputs: int, outputs: int) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False)

    layers = [down(1, 32), nn.LeakyReLU(0.2)]
    for inputs, outputs in ((32, 64), (64, 128)):
        layers += [down(inputs, outputs), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(128, 1, kernel_size=4, bias=False), nn.Flatten())
