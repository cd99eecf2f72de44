"""A small tape made by hand, for shapes of graph that are awkward to record."""

from dynjax.tensor.parameter import Parameter


class Leaf:
    """A tensor that no operation made."""

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, shape=(2,), requires_grad=True, dtype="dynjax.float32"):
        self._v, self._alias = object(), None
        self._shape, self._dtype, self._requires_grad = shape, dtype, requires_grad
        self._given = None

    grad_fn = None
    is_leaf = True
    retains_grad = False
    output_nr = 0
    shape = property(lambda self: self._shape)
    dtype = property(lambda self: self._dtype)
    requires_grad = property(lambda self: self._requires_grad)
    grad = property(lambda self: self._given)


class Weight(Leaf, Parameter):
    """A leaf that is a Parameter."""


class Result(Leaf):
    """An output of an operation."""

    is_leaf = False
    grad_fn = property(lambda self: self._grad_fn)
    output_nr = property(lambda self: self._output)

    def __init__(self, grad_fn, output=0):
        shape, dtype = grad_fn.output_info[output]
        super().__init__(shape, dtype=dtype)
        self._grad_fn, self._output = grad_fn, output


class Accumulate:
    """The tape's end at a leaf."""

    def __init__(self, variable):
        self.variable = variable


class Node:
    """An operation on the tape, as `grad_fn` shows it."""

    def __init__(self, op, *inputs, outputs=((2,),), module_path="", source=None, saves=()):
        self.op, self.module_path, self.source = op, module_path, source
        self.freed = False
        self.input_info = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        self.output_info = tuple((shape, "dynjax.float32") for shape in outputs)
        self.next_functions = tuple(map(_position, inputs))
        self._saved = {f"input{index}": inputs[index] for index in saves}

    def name(self):
        return f"{self.op.capitalize()}Backward0"

    @property
    def saved(self):
        if self.freed:
            raise RuntimeError("Trying to backward through the graph a second time")
        return self._saved


def _position(tensor):
    if tensor.grad_fn is not None:
        return tensor.grad_fn, tensor.output_nr
    return (Accumulate(tensor) if tensor.requires_grad else None), 0


def record(op, *inputs, **details):
    """The first result of an operation."""
    return Result(Node(op, *inputs, **details))


def record_all(op, *inputs, outputs, **details):
    """All results of an operation."""
    node = Node(op, *inputs, outputs=outputs, **details)
    return [Result(node, index) for index in range(len(outputs))]
