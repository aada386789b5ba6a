# SPDX-License-Identifier: Apache-2.0
"""The reader of archives against torch's own: every tensor bit for bit, and what it must refuse."""

import io
import json
import warnings
import zipfile

import pytest
import torch
from torch import nn
from torch.nn import functional

from ttfs_sw.common.errors import InputError
from ttfs_sw.convert import archive, graph, proof, reference
from ttfs_sw.convert.operations import FRESH
from ttfs_sw.convert.program import Node, Ref


class Model(nn.Module):
    """A module whose forward pass is a function of the parts and tensors it is given."""

    def __init__(self, forward, *, buffers=None, hidden=None, constants=None, **parts):
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            setattr(self, name, part)
        for name, value in (buffers or {}).items():
            self.register_buffer(name, value)
        for name, value in (hidden or {}).items():
            self.register_buffer(name, value, persistent=False)
        for name, value in (constants or {}).items():
            setattr(self, name, value)

    def forward(self, x):
        return self._forward(self, x)


def saved(model, shape=(2, 6)):
    """The archive of a model, as bytes."""
    dtype = next((item.dtype for item in model.parameters()), torch.float32)
    with warnings.catch_warnings(action="ignore"):
        program = torch.export.export(model.eval(), (torch.zeros(shape, dtype=dtype),))
        content = io.BytesIO()
        torch.export.save(program, content)
    return content.getvalue()


def linear(weight, bias=None, **options):
    """A module that reads its weights from wherever ``weight`` and ``bias`` lie."""
    parts = {"weight": nn.Parameter(weight)}
    if bias is not None:
        parts["bias"] = nn.Parameter(bias)
    return Model(lambda self, x: functional.linear(x, self.weight, getattr(self, "bias", None)),
                 **parts, **options)


def every(self, x):
    """Reads all parameters and buffers, so that all of them are in the program."""
    return x.sum() + sum(value.double().sum() for value in (*self.parameters(), *self.buffers()))


def numbers(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def vectorised():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    nn.utils.vector_to_parameters(numbers(53), model.parameters())
    return model


def tied():
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), second)


def row_of_a_stack():
    stack = numbers(4, 3, 6)
    return linear(stack[2], stack[1, :, 5])


def both_halves():
    whole = numbers(10, 6)
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4))
    model[0].weight, model[2].weight = nn.Parameter(whole[:6]), nn.Parameter(whole[6:])
    return model


def channels_last():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten(),
        nn.Linear(2 * 4 * 2, 3))
    return model.to(memory_format=torch.channels_last)


def reinterpreted(size=100):
    """Two tensors of different types in one storage."""
    raw = torch.arange(size, dtype=torch.uint8)
    return Model(every, buffers={"raw": raw, "wide": raw[:100].view(torch.int32)[3:9]})


def typed(dtype):
    return linear(numbers(3, 6, dtype=dtype), numbers(3, dtype=dtype))


MODELS = {
    "plain": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
    "vector_to_parameters": vectorised,
    "both halves of a matrix": both_halves,
    "rows": lambda: linear(numbers(9, 6)[4:7]),
    "every other row": lambda: linear(numbers(9, 6)[1:7:2]),
    "columns": lambda: linear(numbers(3, 9)[:, 2:8]),
    "every other column": lambda: linear(numbers(3, 14)[:, 1:13:2]),
    "transposed": lambda: linear(numbers(6, 3).t()),
    "transposed slice": lambda: linear(numbers(8, 5)[1:7, 2:].t()),
    "of a stack": row_of_a_stack,
    "expanded": lambda: linear(numbers(1, 6).expand(3, 6), numbers(1).expand(3)),
    "expanded slice": lambda: linear(numbers(4, 6)[2:3].expand(3, 6)),
    "diagonal": lambda: linear(numbers(6, 6), numbers(7, 7).diagonal(1)),
    "one number": lambda: Model(every, scale=nn.Parameter(numbers(3)[1])),
    "no number": lambda: Model(every, none=nn.Parameter(numbers(0, 4, dtype=torch.float64))),
    "tied": tied,
    "half": lambda: typed(torch.float16),
    "bfloat16": lambda: typed(torch.bfloat16),
    "double": lambda: typed(torch.float64),
    "half slice": lambda: linear(numbers(9, 6, dtype=torch.float16)[3:6]),
    "integers": lambda: Model(every, buffers={
        str(dtype).rpartition(".")[2]: numbers(5, dtype=dtype)[2:]
        for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)}),
    "truth": lambda: Model(every, buffers={"mask": numbers(5) > 0}),
    "buffers": lambda: Model(every, buffers={"a": numbers(4, 4)[1], "b": numbers(2, 3).t()}),
    "buffers that are not saved": lambda: Model(
        every, hidden={"a": numbers(5)[2:4], "b": numbers(3, 4).t()}, buffers={"c": numbers(3)}),
    "shared by both kinds of buffers": lambda: (lambda whole: Model(
        every, buffers={"a": whole[:4]}, hidden={"b": whole[2:]}))(numbers(9)),
    "constants": lambda: Model(
        lambda self, x: x * self.gain + self.shift + torch.tensor([1.0, 2, 3, 4, 5, 6]),
        constants={"gain": numbers(8)[2:], "shift": numbers(6, 2)[:, 1]}),
    "reinterpreted": reinterpreted,
    "not finite": lambda: linear(torch.tensor([[float("nan"), -0.0, float("inf"), 0, 1e-45, 1]])),
    "frozen": lambda: linear(numbers(3, 6)).requires_grad_(requires_grad=False),
    "convolution": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)),
    "channels last": channels_last,
}

#: Images for those that do not read six numbers.
SHAPES = {"convolution": (2, 3, 8, 6), "channels last": (2, 3, 8, 6)}


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_is_torch_s_own(name):
    content = saved(MODELS[name](), SHAPES.get(name, (2, 6)))
    found = archive.read(content, "model").tensors
    theirs = torch.export.load(io.BytesIO(content))
    signature = theirs.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers,
             **signature.inputs_to_lifted_tensor_constants}
    stored = {**theirs.state_dict, **theirs.constants}
    assert set(found) == {  # all that an operation reads
        node.name for node in theirs.graph.nodes if node.name in names and node.users}
    assert found
    for argument, tensor in found.items():
        wanted = stored[names[argument]].detach()
        assert (tensor.dtype, tensor.shape) == (wanted.dtype, wanted.shape)
        # As bytes: a NaN is not equal to itself, and -0 is equal to 0.
        assert (tensor.contiguous().view(torch.uint8) == wanted.contiguous().view(torch.uint8)
                ).all() if tensor.ndim else tensor.item() == wanted.item()


def test_slices_are_converted_as_what_they_are():
    program = archive.read(saved(vectorised()), "model")
    folded = graph.fold(program, (1, 1, 6))
    whole = numbers(53).double().numpy()
    assert (folded.weights[0][0] == whole[:30].reshape(5, 6)).all()
    assert (folded.weights[0][1] == whole[30:35]).all()
    assert (folded.weights[1][0] == whole[35:50].reshape(3, 5)).all()
    assert (folded.weights[1][1] == whole[50:]).all()


def test_storage_of_no_whole_number_of_elements():
    """torch's own loader (2.13) refuses what torch saves here."""
    found = archive.read(saved(reinterpreted(101)), "model").tensors
    wanted = torch.arange(100, dtype=torch.uint8).view(torch.int32)[3:9]
    assert any(tensor.dtype == torch.int32 and tensor.equal(wanted) for tensor in found.values())


def changed(content, member, change):
    """The archive with one of its JSON members changed, or with the bytes that are given."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith(member):
                if callable(change):
                    value = json.loads(data)
                    change(value)
                    data = json.dumps(value).encode()
                else:
                    data = change
            new.writestr(info.filename, data)
    return made.getvalue()


def meta(key, value):
    """A change of the description of the first layer's weights."""
    def change(config):
        config["config"]["0.weight"]["tensor_meta"][key] = value
    return "model_weights_config.json", change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (meta("layout", 1), "the tensor 0.weight is sparse or packed"),
        (meta("dtype", 10), "has elements of torch's type 10, which do not convert"),
        (meta("zero_point", 3), "has a field 'zero_point', which is not known here"),
        (meta("storage_offset", {"as_int": 1}), "is not a program that torch.export.save"),
        (meta("storage_offset", {"as_int": -1}), "is not a program that torch.export.save"),
        (meta("strides", [{"as_int": 7}, {"as_int": 1}]), "is not a program that torch.export"),
        (meta("sizes", [{"as_expr": {"expr_str": "s0"}}, {"as_int": 1}]), "is not a program"),
        (("weights/weight_0", b""), "has no values for 0.weight"),
        (("byteorder", b"big"), "was written on a machine with another byte order"),
        (("model.json", lambda model: model["schema_version"].update(major=9)), "has version 9"),
        (("model.json", lambda model: model["graph_module"]["signature"]["input_specs"].append(
            {"token": {"arg": {"name": "token"}}})), "takes in token, which is not known here"),
        (("model.json", lambda model: model["graph_module"]["signature"]["output_specs"].append(
            {"loss_output": {"arg": {"name": "x"}}})), "gives loss_output, which is not known"),
        (("model.json", lambda model: model["graph_module"]["graph"]["nodes"][0]["inputs"].append(
            {"name": "more", "arg": {"as_graph": {}}})), r"more is of a kind \(as_graph\) that is"),
    ],
)
def test_what_is_not_known_is_refused(change, message):
    content = saved(MODELS["plain"]())
    archive.read(content, "model")
    with pytest.raises(InputError, match=message):
        archive.read(changed(content, *change), "model")


def test_complex_weights_are_refused():
    model = Model(lambda self, x: x * self.turn.real, buffers={"turn": torch.ones(6) * 1j})
    with pytest.raises(InputError, match=r"elements of torch's type 10, which do not convert"):
        archive.read(saved(model), "model")


def test_what_the_logits_do_not_need_is_not_read():
    """A sparse table beside the network, whose bytes are not even in the file, is no hindrance."""
    model = Model(
        lambda self, x: {"logits": self.last(torch.relu(self.first(x))), "turned": self.turn * x},
        first=nn.Linear(6, 5), last=nn.Linear(5, 3), buffers={"turn": torch.ones(6) * 1j})
    program = archive.read(saved(model), "model")
    assert [node.operation for node in program.nodes] == ["linear", "relu", "linear"]
    assert len(program.tensors) == 4
    assert (program.place, len(program.notes)) == (0, 1)


def test_statistics_without_gradient_are_left_out():
    def forward(self, x):
        h = torch.relu(self.first(x))
        with torch.no_grad():
            spread = h.std()
        return {"logits": self.last(h), "spread": spread}
    program = archive.read(saved(Model(forward, **parts())), "model")
    assert [node.operation for node in program.nodes] == ["linear", "relu", "linear"]


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


def parts():
    return {"first": nn.Linear(6, 5), "last": nn.Linear(5, 3)}


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


def test_conversions_to_integers_are_refused():
    rounds = Model(lambda self, x: self.last(torch.relu(self.first(x.int().float()))), **parts())
    with pytest.raises(InputError, match="it makes whole numbers of values that have fractions"):
        graph.fold(archive.read(saved(rounds), "model"), (1, 1, 6))
    wide = Model(lambda self, x: self.last(torch.relu(self.first(x.double().float()))), **parts())
    assert len(graph.fold(archive.read(saved(wide), "model"), (1, 1, 6)).weights) == 2
    # A weight that is rounded is what it was rounded to.
    weight = nn.Parameter(numbers(5, 6) * 3)
    rounded = Model(
        lambda self, x: self.last(torch.relu(
            functional.linear(x, self.weight.to(torch.int8).to(torch.float32)))),
        weight=weight, last=nn.Linear(5, 3))
    folded = graph.fold(archive.read(saved(rounded), "model"), (1, 1, 6))
    assert (folded.weights[0][0] == weight.detach().trunc().double().numpy()).all()
