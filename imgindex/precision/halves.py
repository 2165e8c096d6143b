"""VGG16 in sixteen bits, for graphics cards: half the memory, several times the speed.

What the card adds up stays in float32 there; sixteen bits hold what lies between two layers.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from .stored import parsed

# Activations of the Keras weights reach some ten thousand, and float16 ends at 65,504. A network of
# convolutions, ReLU and maxima may be scaled: its output is scaled the same.
_FACTOR = 16.0
_CHAIN = {"Conv", "Relu", "MaxPool"}


def in_halves(model: bytes) -> bytes:
    """Convert a model from its first convolution to the end of its last block.

    Scaling the bytes, pooling and lengths stay in float32: they cost next to nothing, and it is
    there that sixteen bits would lose digits.

    Args:
        model: of VGG16, as `vgg16.build` makes it.
    """
    proto = parsed(model)
    nodes = list(proto.graph.node)
    kinds = [node.op_type for node in nodes]
    first = last = kinds.index("Conv")
    while kinds[last + 1] in _CHAIN:
        last += 1
    chain = nodes[first : last + 1]
    arrays = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in chain:
        if node.op_type == "Conv":
            for place, name in enumerate(node.input[1:3]):
                values = numpy_helper.to_array(arrays[name])
                if place or node is chain[0]:
                    values = values / np.float32(_FACTOR)
                small = numpy_helper.from_array(values.astype(np.float16), name)
                arrays[name].CopyFrom(small)
    start, end = chain[0].input[0], chain[-1].output[0]
    chain[0].input[0] = "half/in"
    chain[-1].output[0] = "half/out"
    proto.graph.initializer.append(
        numpy_helper.from_array(np.array(_FACTOR, np.float32), "half/factor")
    )
    way_in = helper.make_node("Cast", [start], ["half/in"], "half/in", to=TensorProto.FLOAT16)
    back = helper.make_node("Cast", ["half/out"], ["half/whole"], "half/out", to=TensorProto.FLOAT)
    scaled = helper.make_node("Mul", ["half/whole", "half/factor"], [end], "half/scaled")
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes[:first], way_in, *chain, back, scaled, *nodes[last + 1 :]])
    data: bytes = proto.SerializeToString()
    return data
