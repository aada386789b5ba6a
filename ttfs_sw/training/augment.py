# SPDX-License-Identifier: Apache-2.0
"""Random distortions of training images: shifts, rotations, sizes, shears and elastic bends.

Where each pixel of the result comes from is a linear combination of a few fixed fields - the two
coordinates, a constant, and a smooth bump around each knot of a coarse grid. So one small matrix
product gives the coordinates for a whole batch, and one interpolation the images.
"""

import math

import torch
from torch.nn import functional

from ttfs_sw.training.config import Augmentation

__all__ = ["Augmenter"]


class Augmenter:
    """Distorts batches of images, each image on its own.

    Parameters
    ----------
    config : :class:`ttfs_sw.training.config.Augmentation`
        How far.
    shape : (:class:`int`, :class:`int`, :class:`int`)
        Height, width, channels.
    generator : :class:`torch.Generator`
        Draws the distortions, on the device of the images.
    """

    def __init__(
        self, config: Augmentation, shape: tuple[int, int, int], generator: torch.Generator
    ):
        self._config = config
        self._shape = shape
        self._generator = generator
        self._fields = _fields(shape, config.elastic_grid).to(generator.device)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return float images ``[n, height * width * channels]``, distorted; outside is black.

        Values stay between zero and the largest of the input, but for float rounding.
        """
        return self.bend(images, self.draw(len(images)))

    def draw(self, count: int) -> torch.Tensor:
        """Draw how each of ``count`` images is to be distorted, ``[count, ...]``."""
        if not self._config.active:
            return torch.empty(count, 0, device=self._generator.device)
        return self._coefficients(count)

    def bend(self, images: torch.Tensor, distortions: torch.Tensor) -> torch.Tensor:
        """Return the images, distorted as :meth:`draw` has drawn for each."""
        if not self._config.active:
            return images
        height, width, channels = self._shape
        fields = distortions @ self._fields
        # grid_sample wants x before y, in units in which the image reaches from -1 to 1.
        grid = fields.view(-1, 2, height, width).permute(0, 2, 3, 1)
        planes = images.view(-1, height, width, channels).permute(0, 3, 1, 2)
        bent = functional.grid_sample(planes, grid, align_corners=False)
        return bent.permute(0, 2, 3, 1).reshape(images.shape)

    def _coefficients(self, count: int) -> torch.Tensor:
        """Draw the weights of the fields, ``[n, 2 (x, y), fields]``."""
        config = self._config
        height, width, _ = self._shape
        angle = self._uniform(count, math.radians(config.rotation))
        cosine, sine = angle.cos(), angle.sin()
        x_size = 1 + self._uniform(count, config.scale)
        y_size = 1 + self._uniform(count, config.scale)
        shear = self._uniform(count, config.shear)

        knots = config.elastic_grid**2
        result = torch.randn(
            count, 2, 3 + knots, generator=self._generator, device=self._generator.device
        )
        # In grid_sample's units a pixel is 2 / size.
        result *= torch.tensor([2 / width, 2 / height], device=result.device).view(2, 1)
        result *= config.elastic
        # What x and y of the result take from x, from y, and from the constant.
        result[:, 0, 0], result[:, 0, 1] = cosine * x_size, shear - sine * y_size
        result[:, 1, 0], result[:, 1, 1] = sine * x_size, cosine * y_size
        result[:, 0, 2] = self._uniform(count, config.shift * 2 / width)
        result[:, 1, 2] = self._uniform(count, config.shift * 2 / height)
        return result

    def _uniform(self, count: int, limit: float) -> torch.Tensor:
        drawn = torch.rand(count, generator=self._generator, device=self._generator.device)
        return (2 * drawn - 1) * limit


def _fields(shape: tuple[int, int, int], knots: int) -> torch.Tensor:
    """Return the fixed fields ``[3 + knots^2, height * width]``: x, y, 1 and the bumps."""
    height, width, _ = shape
    x = (torch.arange(width) + 0.5) * 2 / width - 1
    y = (torch.arange(height) + 0.5) * 2 / height - 1
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    bumps = functional.interpolate(
        torch.eye(knots**2).view(-1, 1, knots, knots), (height, width),
        mode="bicubic", align_corners=True,
    )
    plain = torch.stack([columns, rows, torch.ones_like(rows)]).view(3, -1)
    return torch.cat([plain, bumps.view(knots**2, -1)])
