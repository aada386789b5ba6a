# SPDX-License-Identifier: Apache-2.0
"""Lists of torch modules that know what they hold. Alone in this room, it needs torch."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar, overload

from torch import nn

__all__ = ["Modules"]

M = TypeVar("M", bound=nn.Module)


class Modules(nn.ModuleList, Generic[M]):
    """A :class:`torch.nn.ModuleList` of modules of one class.

    The same list at run time; to a type checker, what is iterated over or taken by its index is of
    that class, where torch's own list says no more than that it is a module.
    """

    if TYPE_CHECKING:
        def __init__(self, modules: Iterable[M]) -> None: ...

        def __iter__(self) -> Iterator[M]: ...

        @overload
        def __getitem__(self, idx: slice) -> "Modules[M]": ...

        @overload
        def __getitem__(self, idx: int) -> M: ...

        def __getitem__(self, idx: int | slice) -> "M | Modules[M]": ...
