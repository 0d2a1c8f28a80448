"""Tiny networks with random weights for tests of the science: what VGG, MobileNet and their like are made of."""

from collections.abc import Callable

import torch
from torch import Tensor, fx, nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from onoma.science.program import Program, load, save

SHAPE = (3, 32, 32)  # of the images that both networks take


def program_of(module: nn.Module, shape: tuple[int, int, int] = (3, 8, 8)) -> Program:
    """The module as it comes out of an archive."""
    return load(save(module, torch.rand(2, *shape), {}))


class _Keeping(fx.Interpreter):
    def __init__(self, program: Program) -> None:
        super().__init__(program.graph_module, garbage_collect_values=False)


def values_of(program: Program, pixels: Tensor) -> dict[fx.Node, Tensor]:
    """The value of every node."""
    keeping = _Keeping(program)
    with torch.inference_mode():
        keeping.run(pixels)
    return {node: value for node, value in keeping.env.items() if isinstance(value, Tensor)}


def images(count: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Random images (count, *shape) in [-1, 1)."""
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def vgg_like(seed: int = 0) -> nn.Module:
    """Convolutions, max pools, two fully-connected layers; 16x16 cells after the first pool."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(16 * 16, 24),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(24, 4),
    ).eval()


class MobileLike(nn.Module):
    """Padding by hand, depthwise convolutions, batch norms of both signs, ReLU6, a residual, one linear layer.

    16x16 cells after the stem, 8x8 above it.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU6())
        self.shrink = nn.Sequential(
            nn.ConstantPad2d((0, 1, 0, 1), 0.0),
            nn.Conv2d(8, 8, 3, stride=2, groups=8, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
        )
        self.widen = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.ConstantPad2d((0, 2, 1, 1), 0.0),
            nn.Conv2d(16, 16, 3, groups=16, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU6(),
        )
        self.narrow = nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Sequential(nn.Conv2d(8, 24, 1), nn.BatchNorm2d(24), nn.ReLU6())
        self.classify = nn.Linear(24, 4)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, -1.0, 1.5)
                nn.init.normal_(module.bias, 0.0, 0.3)
                nn.init.normal_(module.running_mean, 0.0, 0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        with torch.no_grad():  # as in EfficientNet-Lite0: channels that are active by their bias alone
            for _, depthwise, norm, _ in (self.shrink, self.depthwise):
                weight = depthwise.weight[::2]
                weight.copy_(-weight.abs() * norm.weight[::2].sign().view(-1, 1, 1, 1))
                norm.bias[::2] = 1.0
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 32, 32) to (n, 4)."""
        cells = self.shrink(self.stem(pixels))
        inner = self.narrow(self.depthwise(self.widen(cells)))
        return self.classify(self.head(cells + inner).mean((2, 3)))


class ModernLike(nn.Module):
    """What newer networks add: SiLU, hardswish, GELU, channel shuffles, layer norms, layers at every cell, layer scale.

    16x16 cells after the stem.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.SiLU())
        self.piece = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Hardswish())
        self.norm, self.last_norm = nn.LayerNorm(8), nn.LayerNorm(8)
        self.widen, self.narrow = nn.Linear(8, 16), nn.Linear(16, 8)
        self.layer_scale = nn.Parameter(torch.linspace(-0.2, 1.0, 8).view(8, 1, 1))
        self.classify = nn.Linear(8, 4)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        cells = self.stem(images)
        kept, changed = cells.chunk(2, dim=1)
        cells = torch.cat([kept, self.piece(changed)], dim=1)
        cells = cells.view(-1, 2, 4, 16, 16).transpose(1, 2).flatten(1, 2)
        inner = self.norm(cells.permute(0, 2, 3, 1))
        inner = self.narrow(nn.functional.gelu(self.widen(inner))).permute(0, 3, 1, 2)
        cells = cells + self.layer_scale * inner
        pooled = nn.functional.adaptive_avg_pool2d(cells, 1).permute(0, 2, 3, 1)
        return self.classify(self.last_norm(pooled).permute(0, 3, 1, 2).flatten(1))


def vit_like(seed: int = 0, classes: int = 4) -> nn.Module:
    """A vision transformer: patches of 4 pixels, a class token, two blocks of two heads; for images of 32 pixels."""
    torch.manual_seed(seed)
    network = VisionTransformer(
        32, 4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=classes
    )
    nn.init.normal_(network.heads.head.weight)  # torchvision's is 0
    return network.eval()


def swin_like(seed: int = 0, classes: int = 4) -> nn.Module:
    """Attention in windows of 4x4 cells, shifted in every other block; channels last: 8x8 cells, then 4x4."""
    torch.manual_seed(seed)
    return SwinTransformer([4, 4], 8, [2, 2], [2, 4], [4, 4], num_classes=classes).eval()


class Between(nn.Module):
    """A convolution, something, and a linear layer on the mean."""

    def __init__(self, something: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolve, self.classify = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)
        self.something = something

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, 16, 16) to (n, 2)."""
        return self.classify(self.something(torch.relu(self.convolve(pixels))).mean((2, 3)))
