# SPDX-License-Identifier: Apache-2.0
"""What all methods have in common: the interface, and the task that each of them gets.

Like with like: every method sees the same images in the same order, bent in the same way, the same
layers, and the same number of passes over the training images. What is converted or fine-tuned
starts from one ReLU network, the reference, trained once; what starts from nothing gets the passes
of the reference as well.
"""

import abc
import dataclasses
import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.artifact.network import Network
from ttfs_sw.common.errors import InputError
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.research.neighbours.operations import Inference
from ttfs_sw.training import topology
from ttfs_sw.training.config import Config
from ttfs_sw.training.models import ReluNetwork
from ttfs_sw.training.samples import Data, check

__all__ = ["Method", "Progress", "Task", "fit", "integer", "largest_activations",
           "nearest", "parts"]

Progress = Callable[[int, int], None]

#: Images that are classified together, and training images that calibrate a conversion.
BATCH, CALIBRATION = 500, 2000

#: Share of the passes over which a learning rate rises.
WARMUP = 0.05


@dataclasses.dataclass(frozen=True)
class Task:
    """The images, the layers and the budget.

    Parameters
    ----------
    config : :class:`ttfs_sw.training.config.Config`
        Layers, passes, rates, augmentation, seed, ticks of the input.
    dataset : :class:`ttfs_sw.data.datasets.Dataset`
        The images.
    device : :class:`torch.device`
        Where networks are trained and run; by default a GPU if there is one.
    """

    config: Config
    dataset: Dataset
    device: torch.device = dataclasses.field(
        default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )

    def __post_init__(self) -> None:
        check(self.config, self.dataset)

    @property
    def layers(self) -> tuple[str, ...]:
        """The hidden layers, as :mod:`ttfs_sw.training.topology` writes them."""
        return self.config.network.texts

    def data(self) -> Data:
        """Return the images from the start: the same order and distortions for every method."""
        return Data(self.config, self.dataset, self.device)

    def generator(self) -> torch.Generator:
        """Return the random numbers that weights are drawn from, the same on every device."""
        return torch.Generator().manual_seed(self.config.seed)

    def reference(self, progress: Progress | None = None) -> ReluNetwork:
        """Train the ReLU network that conversions start from."""
        data = self.data()
        layers = topology.plan(self.layers, self.dataset.shape, self.dataset.classes)
        model = ReluNetwork(layers, self.generator()).to(self.device)

        def loss(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(model(pixels / data.maximum), labels)

        training = self.config.training
        fit(model, loss, data, self.config, epochs=training.float_epochs,
            rate=training.float_learning_rate, progress=progress)
        return model

    def calibration(self) -> torch.Tensor:
        """Training images on which conversions are calibrated, from 0 to 1."""
        data = self.data()
        return data.x[:CALIBRATION].float() / data.maximum


class Method(abc.ABC):
    """A way to make a spiking network of given layers, to run it, and to say what that costs.

    Parameters
    ----------
    layers : sequence of :class:`str`
        The hidden layers, as :mod:`ttfs_sw.training.topology` writes them; the read-out is added.
    shape : (:class:`int`, :class:`int`, :class:`int`)
        Height, width and channels of an image.
    classes : :class:`int`
        Neurons of the read-out.

    Members
    -------
    name : what the registry calls it.
    title : what a table calls it.
    source : the publication.
    core : what of our hardware runs it, in a few words; ``"no"`` if nothing does.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    core: ClassVar[str] = "no"

    def __init__(
        self, layers: Sequence[str], shape: tuple[int, int, int], classes: int
    ) -> None:
        self.topology = topology.plan(layers, shape, classes)
        self._maximum = 0
        self._device = torch.device("cpu")

    @abc.abstractmethod
    def fit(
        self, task: Task, reference: ReluNetwork, progress: Progress | None = None
    ) -> None:
        """Convert ``reference``, which is left as it is, or train on the images of ``task``."""

    def predict(self, pixels: np.ndarray) -> Inference:
        """Classify uint8 ``[images, inputs]`` in raster order; after :meth:`fit`.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            Before :meth:`fit`, or if the images are of another size.
        """
        if not self._maximum:
            raise InputError(f"{self.name} cannot classify before it is fitted; call fit first")
        inputs = math.prod(self.topology.input_shape)
        if pixels.ndim != 2 or pixels.shape[1] != inputs:
            raise InputError(
                f"{self.name} reads images of {inputs} bytes, but these are {list(pixels.shape)}"
            )
        return self._run(pixels)

    @abc.abstractmethod
    def _run(self, pixels: np.ndarray) -> Inference:
        """Classify images, after :meth:`fit`."""

    def network(self) -> Network | None:
        """The integers that our core runs instead, after :meth:`fit`; ``None`` if there are none.

        Their codes need not be the spikes of :meth:`predict`: they are the same activations, as one
        spike a neuron, with rounded weights.
        """
        return None

    def _begin(self, task: Task, data: Data) -> None:
        """Keep what :meth:`_batches` needs of the images."""
        self._maximum, self._device = data.maximum, task.device

    def _batches(self, pixels: np.ndarray) -> Iterator[torch.Tensor]:
        """Give images a batch at a time, as values from 0 to 1."""
        return parts(pixels, self._maximum, self._device)

    def _refuse_max_pools(self, reason: str) -> None:
        """Refuse layers with a max-pool.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If there is one.
        """
        if any(plan.pool > 1 for plan in self.topology.layers):
            raise InputError(f"{self.name} has no max-pool, because {reason}; write a2 for p2")


def fit(
    model: nn.Module,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    data: Data,
    config: Config,
    *,
    epochs: int,
    rate: float,
    still: Sequence[str] = (),
    progress: Progress | None = None,
) -> None:
    """Train ``model`` in place: AdamW, a learning rate that rises and falls along a cosine.

    Parameters
    ----------
    model : :class:`torch.nn.Module`
        Its parameters are trained.
    loss_of : callable
        From float pixels (0 to the brightest) and labels to the loss.
    data : :class:`ttfs_sw.training.samples.Data`
        The images; nothing is learned from those held out.
    config : :class:`ttfs_sw.training.config.Config`
        Size of a batch, weight decay.
    epochs : :class:`int`
        Passes over the training images.
    rate : :class:`float`
        Largest learning rate.
    still : sequence of :class:`str`
        Names of matrices that do not decay; biases and scales never do.
    progress : callable or ``None``
        Called as ``progress(done, total)``, in images.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If training diverges.
    """
    decays: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        free = parameter.ndim <= 1 or any(part in name.split(".") for part in still)
        (others if free else decays).append(parameter)
    groups = [{"params": decays, "weight_decay": config.training.weight_decay},
              {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    steps = epochs * math.ceil(len(data.x) / config.training.batch)
    warmup = max(round(WARMUP * steps), 1)
    step = done = 0
    model.train()
    for epoch in range(1, epochs + 1):
        for pixels, labels in data.batches():
            step += 1
            fall = 0.5 + 0.5 * math.cos(math.pi * max(step - warmup, 0) / max(steps - warmup, 1))
            for group in optimizer.param_groups:
                group["lr"] = rate * min(step / warmup, fall)
            loss = loss_of(pixels, labels)
            if not math.isfinite(loss.item()):
                raise InputError(
                    f"training diverged in epoch {epoch}: the loss is {loss.item()}; lower the "
                    f"learning rate, now {rate}"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += len(labels)
            if progress is not None:
                progress(done, epochs * len(data.x))
    model.eval()


def parts(
    pixels: np.ndarray, maximum: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """Give images a batch at a time, as values from 0 to 1."""
    for start in range(0, len(pixels), BATCH):
        batch = torch.from_numpy(np.array(pixels[start:start + BATCH])).to(device)
        yield batch.float() / maximum


@torch.no_grad()
def largest_activations(
    model: ReluNetwork, values: torch.Tensor, quantile: float = 1.0
) -> list[float]:
    """Return, of each hidden layer of a ReLU network, its largest activation on ``values``.

    ``quantile`` below 1 leaves out the share above it of the activations that are not 0. A layer
    that is silent counts as 1.
    """
    found = []

    def fire(index: int, received: torch.Tensor) -> torch.Tensor:
        positive = np.sort(received[received > 0].cpu().numpy())
        # numpy's quantile of a sorted array needs no copy of torch's limited size.
        found.append(float(np.quantile(positive, quantile)) if len(positive) else 1.0)
        return functional.relu(received)

    model(values, fire)
    return found


def integer(value: int, name: str, low: int, high: int) -> int:
    """Return an option of a method, if it is an integer within limits.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.InputError`
        If not.
    """
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{name} must be an integer from {low} to {high}, not {value!r}")
    return value


def nearest(name: str, names: Sequence[str]) -> str:
    """Say which of ``names`` was probably meant, or which there are."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
