"""One row of the study in PyTorch: channels_last, photos decoded once and held in memory, Adam, cross-entropy.

python benchmarks/pytorch.py ROW FOLDER EPOCHS OUTPUT, with train/, validation/ and test/ in FOLDER.

MobileNetV2 after Sandler et al. 2018 (arXiv:1801.04381), table 2, with random weights, which cost the same time.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

SIZE, BATCH = 128, 32
# Expansion, channels, repeats and first stride of each stage.
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution, batch norm and ReLU6."""
    padding = kernel // 2
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU6(inplace=True)]


class Block(nn.Module):
    """An inverted residual."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        expand = convolution(inputs, wide, 1) if expansion > 1 else []
        project = convolution(wide, outputs, 1)[:2]
        self.layers = nn.Sequential(*expand, *convolution(wide, wide, 3, stride, wide), *project)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (batch, outputs, height / stride, width / stride)."""
        return x + self.layers(x) if self.residual else self.layers(x)


def mobilenet_base() -> nn.Sequential:
    """Stem, 17 blocks and the last 1x1 convolution."""
    layers, channels = [nn.Sequential(*convolution(3, 32, 3, 2))], 32
    for expansion, outputs, repeats, stride in STAGES:
        for repeat in range(repeats):
            layers.append(Block(channels, outputs, expansion, stride if repeat == 0 else 1))
            channels = outputs
    return nn.Sequential(*layers, nn.Sequential(*convolution(channels, 1280, 1)))


def mobilenet(row: str, classes: int) -> nn.Module:
    """As Keras's: 20 layers are the last block but one from its expansion on, the last block and the convolution."""
    base = mobilenet_base()
    learning = {"mnv2_frozen": len(base), "mnv2_unfrozen": 0, "mnv2_partial": len(base) - 3}[row]
    for index, part in enumerate(base):
        part.requires_grad_(index >= learning)
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    head = nn.Sequential(*pool, nn.Linear(1280, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, classes))
    model = nn.Sequential(base, head)
    model.frozen = [part for index, part in enumerate(base) if index < learning]
    return model


def simple_cnn(classes: int) -> nn.Module:
    """The study's CNN."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.MaxPool2d(2)]
    flat = 128 * 14 * 14
    layers += [nn.Flatten(), nn.Linear(flat, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, classes)]
    model = nn.Sequential(*layers)
    model.frozen = []
    return model


def photos(folder: str, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """All photos of a part, uint8, channels last, and their class indices."""
    images, labels = [], []
    for index, label in enumerate(sorted(path for path in (Path(folder) / part).iterdir())):
        for file in sorted(label.iterdir()):
            with Image.open(file) as image:
                images.append(np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
            labels.append(index)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.tensor(labels)


def batch_of(images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Float pixels in [0, 1], channels last."""
    return (images[rows].float() / 255).contiguous(memory_format=torch.channels_last)


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of photos classified right."""
    model.eval()
    with torch.no_grad():
        parts = torch.arange(len(images)).split(BATCH)
        right = sum(int((model(batch_of(images, rows)).argmax(1) == labels[rows]).sum()) for rows in parts)
    return right / len(images)


def main(row: str, folder: str, epochs: str, output: str) -> None:
    """Train, test and save one row."""
    torch.manual_seed(0)
    (images, labels), validation, test = (photos(folder, part) for part in ("train", "validation", "test"))
    classes = int(labels.max()) + 1
    model = simple_cnn(classes) if row == "simple_cnn" else mobilenet(row, classes)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad])
    loss_of, seconds = nn.CrossEntropyLoss(), []
    for epoch in range(int(epochs)):
        started = time.perf_counter()
        model.train()
        for part in model.frozen:
            part.eval()
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss_of(model(batch_of(images, rows)), labels[rows]).backward()
            optimizer.step()
        reached = accuracy(model, *validation)
        seconds.append(time.perf_counter() - started)
        print(f"epoch {epoch + 1}: {seconds[-1]:.2f} s, validation accuracy {reached:.4f}")
    accuracy(model, *test)
    torch.save(model.state_dict(), f"{output}.pt")
    with open(output, "w") as file:
        json.dump(seconds, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
