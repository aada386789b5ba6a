# SPDX-License-Identifier: Apache-2.0
"""Operations that change memory: followed exactly, or refused."""


import pytest
import torch
from torch.nn import functional

from tests.support.archives import Model, parts, saved
from ttfs_sw.common.errors import InputError
from ttfs_sw.convert import archive, graph, proof, reference
from ttfs_sw.convert.operations import FRESH
from ttfs_sw.convert.program import Node, Ref


def alias(self, x):
    flat = self.first(x)
    seen = flat.view(-1, 5, 1)
    flat.add_(1)
    return self.last(torch.relu(seen.flatten(1)))


def base(self, x):
    flat = self.first(x)
    flat.view(-1, 5, 1).add_(1)
    return self.last(torch.relu(flat))


def counter(self, x):
    self.count += 1
    return self.last(torch.relu(self.first(x) + self.count))


def unread_counter(self, x):
    self.count += 1
    return self.last(torch.relu_(self.first(x)))


@pytest.mark.parametrize("forward", [alias, base])
def test_changes_under_another_name_are_kept_and_refused(forward):
    program = archive.read(saved(Model(forward, **parts())), "model")
    assert "add_" in [node.operation for node in program.nodes]
    with pytest.raises(InputError, match=r"has changed in place since|only flattening converts"):
        graph.fold(program, (1, 1, 6))


def hidden(self, x):
    """Values that are not kept for a gradient, so that torch lets all of their views be changed."""
    return torch.relu(self.first(x)).detach()


def after(change):
    """A forward pass that changes its hidden values somehow, then reads them."""
    def forward(self, x):
        h = hidden(self, x)
        change(h)
        return self.last(h)
    return forward


def turned_output(self, x):
    logits = self.last(hidden(self, x))
    logits.view(-1, 3, 1, 1).mul_(-1)
    return logits


def turned_softmax(self, x):
    found = self.last(hidden(self, x)).softmax(1)
    found.view(-1, 3, 1, 1).mul_(-1)
    return found


def without_gradient(self, x):
    h = torch.relu(self.first(x))
    with torch.no_grad():
        h.mul_(3)
    return self.last(h)


def into_the_same(self, x):
    h = hidden(self, x)
    return self.last(torch.mul(h, 3.0, out=h))


SINCE = r"add_.* has changed in place since; use that operation without"

#: Changes under another name, and what the refusal says.
CHANGES = {
    "ravel": (after(lambda h: h.ravel().add_(1)), "ravel is no operation of the hardware"),
    "T": (after(lambda h: h.T.add_(1)), "numpy_T is no operation of the hardware"),
    "swapdims": (after(lambda h: h.swapdims(0, 1).mul_(-1)), "swapdims is no operation"),
    "second chunk": (after(lambda h: h.chunk(2, 1)[1].add_(1)), "chunk is no operation"),
    "clamped slice": (after(lambda h: h.ravel()[:].clamp_(max=0.1)), "ravel is no operation"),
    "several at once": (after(lambda h: torch._foreach_add_([h], 1.0)), "_foreach_add_ does not"),
    "double": (after(lambda h: h.double().add_(1)), SINCE),
    "half": (after(lambda h: h.half().add_(1)), SINCE),
    "type of another": (after(lambda h: h.type_as(h.double()).add_(1)), "type_as is no oper"),
    "reshape": (after(lambda h: h.reshape(-1, 5).add_(1)), SINCE),
    "view of the logits": (turned_output, r"model returns a tensor that .*mul_.* changed in place"),
    "softmax": (turned_softmax, "it changes what softmax has given in place; return the logits"),
    "without gradient": (without_gradient, r"set_grad_enabled does not .* kind \(as_graph\)"),
    "into a tensor": (into_the_same, "it may change a tensor that exists already in a way"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_that_may_be_of_the_same_memory_are_refused(name):
    forward, message = CHANGES[name]
    content = saved(Model(forward, **parts()))
    with pytest.raises(InputError, match=message) as caught:
        graph.fold(archive.read(content, "model"), (1, 1, 6))
    assert "this is a fault" not in str(caught.value)


def widened(self, x):
    h = hidden(self, x).double()
    h.add_(1)
    return self.last(h.float())


def seen_before(self, x):
    h = hidden(self, x)
    found = self.last(h)
    h.ravel().add_(1)
    return found


EXACT = {
    # torch.export leaves those out that do nothing.
    "contiguous": after(lambda h: h.contiguous().add_(1)),
    "flatten": after(lambda h: h.flatten(1).add_(1)),
    "detached": after(lambda h: h.detach().add_(1)),
    "dropout": after(lambda h: functional.dropout(h, training=False).add_(1)),
    "view of its shape": after(lambda h: h.view(-1, 5).add_(1)),
    "twice": after(lambda h: h.add_(1).mul_(2)),
    "a copy": after(lambda h: h.clone().ravel().add_(1)),
    "another's": after(lambda h: (h + 1).chunk(2, 1)[1].mul_(3)),
    "of another type": widened,
    "seen before": seen_before,
}


@pytest.mark.parametrize("name", EXACT)
def test_changes_that_are_followed_are_exact(name):
    model = Model(EXACT[name], **parts())
    program = archive.read(saved(model), "model")
    images = proof.random_images((1, 1, 6))
    proof.prove(graph.fold(program, (1, 1, 6)), None, images)
    # In the model's own type, where to() copies.
    torch.testing.assert_close(
        reference.logits(program, images)[0].float(), model(images.float()))


def test_what_changes_memory_is_torch_s_word():
    read, several = {"self": Ref("x"), "other": Ref("y")}, {"self": [Ref("x"), Ref("y")]}
    for operation, arguments, changes in (
        ("add", read, []), ("add_", read, ["x"]), ("__ior__", read, ["x"]),
        ("mul", read | {"out": Ref("z")}, ["z"]), ("_foreach_add_", several, ["x", "y"]),
        ("sort", {"self": Ref("x")}, []), ("cat", {"tensors": [Ref("x")]}, []),
        # Not one of torch's: it may change all.
        ("nobody_knows", read, ["x", "y"]),
    ):
        node = Node(operation, arguments, "made")
        assert (node.changes, node.in_place) == (changes, bool(changes)), operation


@pytest.mark.parametrize("operation", FRESH)
def test_new_memory_is_not_against_torch_s_word(operation):
    packet = getattr(torch.ops.aten, operation)
    schemas = [getattr(packet, name)._schema for name in packet.overloads()]
    assert schemas
    assert not [item for schema in schemas for item in schema.returns
                if item.alias_info is not None and not item.alias_info.is_write]


def test_changed_buffers():
    with pytest.raises(InputError, match="changes a weight or a buffer while the model runs"):
        archive.read(saved(Model(counter, buffers={"count": torch.zeros(5)}, **parts())), "model")
    model = Model(unread_counter, buffers={"count": torch.zeros(5)}, **parts())
    program = archive.read(saved(model), "model")
    assert [node.operation for node in program.nodes] == ["linear", "relu_", "linear"]
