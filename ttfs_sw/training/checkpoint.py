# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: all that an interrupted training run needs to go on as if nothing had happened.

A checkpoint is a NumPy archive: an array for each tensor, and one JSON text that says where each
belongs and what run it is of. Nothing in it is ever executed, as something in a pickle may be.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import tomllib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ttfs_sw.common.errors import InputError
from ttfs_sw.common.files import write_bytes
from ttfs_sw.data.datasets import Dataset
from ttfs_sw.training.config import Config

__all__ = ["NAME", "Checkpoint"]

logger = logging.getLogger(__name__)

#: The file in the folder of a run, for as long as the run has not ended.
NAME = "checkpoint.npz"

FORMAT, VERSION = "ttfs-checkpoint", 1

#: The member of the archive that holds the JSON text.
HEADER = "header"

#: Differences that a message names, at most.
NAMED = 3


class Checkpoint:
    """The checkpoint of one run.

    Parameters
    ----------
    folder : path
        Of the run.
    config : :class:`ttfs_sw.training.config.Config`
        What is trained; another configuration's checkpoint is refused.
    dataset : :class:`ttfs_sw.data.datasets.Dataset`
        Whose training images it is trained on; those of others are refused.
    device : :class:`torch.device`
        Random numbers of one kind of device cannot be continued on another.
    processes : :class:`int`
        How many train together.

    Members
    -------
    path : the file.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        config: Config,
        dataset: Dataset,
        device: torch.device,
        processes: int = 1,
    ):
        self.path = Path(folder) / NAME
        self._config = config.toml()
        self._images = _fingerprint(dataset)
        self._device = device.type
        # What may differ, but then the result does too.
        self._made_by = {"torch": torch.__version__, "processes": processes}
        self._ours = False

    def save(self, state: Mapping[str, Any]) -> None:
        """Write ``state``, whole or not at all: nested mappings of tensors and plain values."""
        arrays: dict[str, np.ndarray] = {}
        header = {
            "format": FORMAT, "version": VERSION, "config": self._config, "images": self._images,
            "device": self._device, "made_by": self._made_by, "state": _pack(state, arrays),
        }
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **{HEADER: np.array(json.dumps(header))}, **arrays)
        write_bytes(self.path, content.getvalue())
        self._ours = True

    def load(self) -> dict[str, Any]:
        """Return what :meth:`save` was given, its tensors on the CPU.

        Raises
        ------
        :exc:`ttfs_sw.common.errors.InputError`
            If there is no checkpoint, the file is none or is damaged, or it is of another run.
        """
        if not self.path.is_file():
            raise InputError(
                f"{self.path.parent} holds no {NAME} to resume from: its run has ended, or none "
                "got through an epoch; leave --resume out"
            )
        with self.restoring():
            header, arrays = _read(self.path)
            self._check(header)
            state = _unpack(header["state"], arrays)
        self._ours = True
        return state

    @property
    def foreign(self) -> bool:
        """Whether there is a file, but one that this run has neither written nor read."""
        return self.path.exists() and not self._ours

    def discard(self) -> None:
        """Remove the file, and what a killed process may have left of one half-written.

        Not that of an earlier run, whose work is in it.
        """
        if self.foreign:
            return
        for path in (self.path, *self.path.parent.glob(f".{NAME}.*.part.npz")):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """Say in one sentence that the content is not what it should be, if that shows."""
        try:
            yield
        except InputError:
            raise
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.path} is not the checkpoint of this run, or it is damaged; train without "
                "--resume"
            ) from error

    def _check(self, header: Mapping[str, Any]) -> None:
        """Refuse the checkpoint of another run; mention what will make the result another."""
        if header["version"] != VERSION:
            raise InputError(
                f"{self.path} has format version {header['version']!r}, and this ttfs reads "
                f"version {VERSION}; train without --resume"
            )
        changes = _changes(tomllib.loads(header["config"]), tomllib.loads(self._config))
        if changes:
            more = f", and {len(changes) - NAMED} more" if len(changes) > NAMED else ""
            raise InputError(
                f"{self.path} is of another configuration: {', '.join(changes[:NAMED])}{more}; "
                "give the same one, or train without --resume"
            )
        if header["images"] != self._images:
            raise InputError(
                f"{self.path} was trained on other images; give the same dataset, or train "
                "without --resume"
            )
        if header["device"] != self._device:
            raise InputError(
                f"{self.path} was trained on the device {header['device']!r} and cannot go on on "
                f"{self._device!r}; train without --resume"
            )
        if header["made_by"] != self._made_by:
            logger.warning(
                "%s was made by %s, and this is %s: the network will differ a little from that of "
                "an uninterrupted run", self.path, header["made_by"], self._made_by,
            )


def _fingerprint(dataset: Dataset) -> str:
    """SHA-256 of the training images and labels; test images have no part in training."""
    digest = hashlib.sha256(json.dumps([dataset.shape, dataset.classes]).encode())
    for array in (dataset.x_train, dataset.y_train):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _changes(theirs: Mapping[str, Any], ours: Mapping[str, Any], table: str = "") -> list[str]:
    """Say of each key in which two configurations differ how they do."""
    found = []
    for key in dict.fromkeys([*theirs, *ours]):
        old, new = theirs.get(key), ours.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _changes(old, new, f"{key}.")
        elif old != new:
            was, now = ("not given" if value is None else repr(value) for value in (old, new))
            found.append(f"{table}{key} was {was} and is {now}")
    return found


def _pack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return ``value`` as JSON takes it, its tensors put into ``arrays``, which are numbered."""
    if isinstance(value, torch.Tensor):
        name = f"array{len(arrays)}"
        arrays[name] = value.detach().cpu().numpy()
        return {"array": name}
    if isinstance(value, Mapping):
        return {key: _pack(item, arrays) for key, item in value.items()}
    return value


def _unpack(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Undo :func:`_pack`."""
    if not isinstance(value, dict):
        return value
    if set(value) == {"array"}:
        return torch.from_numpy(arrays[value["array"]])
    return {key: _unpack(item, arrays) for key, item in value.items()}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the header and the arrays of a checkpoint."""
    try:
        # Opened here, because numpy leaves a file open when it cannot make sense of it.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays.pop(HEADER)))
        if header["format"] != FORMAT:
            raise ValueError("another format")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (
        EOFError, KeyError, NotImplementedError, TypeError, ValueError, zipfile.BadZipFile,
        zlib.error,
    ) as error:
        # numpy says ValueError for a pickle, and has opened none.
        raise InputError(
            f"{path} is not a checkpoint of ttfs, or it is damaged; nothing in it was executed; "
            "train without --resume"
        ) from error
    return header, arrays
