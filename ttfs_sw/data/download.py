# SPDX-License-Identifier: Apache-2.0
"""Where the named datasets come from, and fetching them: only when asked, and checked."""

import hashlib
import http.client
import io
import tarfile
import urllib.request
from pathlib import Path

from ttfs_sw.common.errors import FailureError
from ttfs_sw.common.files import output_folder, write_bytes

__all__ = ["ARCHIVES", "download"]

MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist"
FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
CIFAR = "https://www.cs.toronto.edu/~kriz"

#: Address and SHA-256 of every file of every dataset that can be fetched.
ARCHIVES: dict[str, dict[str, str]] = {
    "mnist": {
        f"{MNIST}/train-images-idx3-ubyte.gz":
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        f"{MNIST}/train-labels-idx1-ubyte.gz":
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        f"{MNIST}/t10k-images-idx3-ubyte.gz":
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        f"{MNIST}/t10k-labels-idx1-ubyte.gz":
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "fashion-mnist": {
        f"{FASHION}/train-images-idx3-ubyte.gz":
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        f"{FASHION}/train-labels-idx1-ubyte.gz":
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        f"{FASHION}/t10k-images-idx3-ubyte.gz":
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        f"{FASHION}/t10k-labels-idx1-ubyte.gz":
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    "cifar10": {
        f"{CIFAR}/cifar-10-binary.tar.gz":
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    },
    "cifar100": {
        f"{CIFAR}/cifar-100-binary.tar.gz":
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    },
}

TIMEOUT_SECONDS = 60


def download(name: str, folder: Path) -> None:
    """Fetch the dataset ``name`` into ``folder``; every file arrives whole or not at all.

    Of a ``.tar.gz``, the ``.bin`` files are kept, without the folders around them.

    Raises
    ------
    :exc:`ttfs_sw.common.errors.FailureError`
        If a file cannot be fetched, or its SHA-256 is not the published one.
    """
    folder = output_folder(folder)
    for address, expected in ARCHIVES[name].items():
        content = _fetch(address)
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise FailureError(
                f"{address} has the SHA-256 {found} instead of {expected}; it was not kept, try "
                "again or fetch the dataset by hand"
            )
        file = address.rpartition("/")[2]
        if file.endswith(".tar.gz"):
            _unpack(content, folder)
        else:
            write_bytes(folder / file, content)


def _fetch(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as response:
            return response.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise FailureError(
            f"cannot fetch {address}: {reason}; fetch it by hand and name its folder with "
            "--data-dir"
        ) from error


def _unpack(content: bytes, folder: Path) -> None:
    """Write the ``.bin`` files of an archive into ``folder``, by their bare names."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".bin"):
                file = archive.extractfile(member)
                assert file is not None, "only a member that is no file has no content"
                write_bytes(folder / Path(member.name).name, file.read())
