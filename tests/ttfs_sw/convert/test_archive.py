# SPDX-License-Identifier: Apache-2.0
"""The reader of archives against torch's own: every tensor bit for bit, and what it must refuse."""

import io
import json
import zipfile

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.support.archives import Model, every, linear, numbers, parts, saved
from ttfs_sw.common.errors import InputError
from ttfs_sw.convert import archive, graph


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
