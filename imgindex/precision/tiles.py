"""Eight bits on various processors: whether they overflow, and how they use matrix tiles."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from imgindex.graph import Sketch

_FEW_CHANNELS = 64
_PROBED = 64
_ANSWER = 200


def for_tiles(model: bytes) -> bytes:
    """Move the zero of the weights by one, so that ONNX Runtime multiplies them in tiles.

    Symmetric weights take its direct convolution, which never uses AMX; any other take its matrix
    product, which does and is 1.7 times as fast (2.4 times in the deep layers; with few input
    channels it is slower, and those are left). Not one embedding changes.
    """
    proto = onnx.load_from_string(model)
    arrays = {tensor.name: tensor for tensor in proto.graph.initializer}
    for name, tensor in arrays.items():
        zero = arrays.get(f"{name}/zero")
        wide = len(tensor.dims) > 1 and tensor.dims[1] > _FEW_CHANNELS
        if zero is not None and tensor.data_type == TensorProto.INT8 and wide:
            for one in (tensor, zero):
                moved = numpy_helper.to_array(one) + np.int8(1)
                one.CopyFrom(numpy_helper.from_array(moved, one.name))
    data: bytes = proto.SerializeToString()
    return data


def overflow_probe() -> tuple[bytes, int]:
    """A convolution of the largest bytes and weights, and what it gives where nothing overflows.

    Returns:
        A model from ``image`` uint8 [1, 1, 1, 64] to ``answer`` uint8 [1, 64, 1, 1], to be fed with
        255 throughout; and the answer, the same throughout. Processors without VNNI (or the like)
        add pairs of products in sixteen bits and give less.
    """
    sketch = Sketch()
    one, zero = sketch.constant(1.0), sketch.constant(np.uint8(0))
    maps = sketch.op("Transpose", "image", perm=[0, 3, 1, 2])
    tensor = sketch.op("DequantizeLinear", maps, one, zero)
    kernel = sketch.constant(np.full((_PROBED, _PROBED, 1, 1), 126, np.int8))
    weights = sketch.op(
        "DequantizeLinear",
        kernel,
        sketch.constant(np.ones(_PROBED, np.float32)),
        sketch.constant(np.zeros(_PROBED, np.int8)),
        axis=0,
    )
    tensor = sketch.op("Conv", tensor, weights, kernel_shape=[1, 1])
    scale = sketch.constant(np.float32(255 * 126 * _PROBED / _ANSWER))
    sketch.op("QuantizeLinear", tensor, scale, zero, name="answer")
    graph = helper.make_graph(
        sketch.nodes,
        "probe",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, 1, _PROBED])],
        [helper.make_tensor_value_info("answer", TensorProto.UINT8, [1, _PROBED, 1, 1])],
        sketch.constants,
    )
    opset = [helper.make_opsetid("", sketch.opset)]
    data: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return data, _ANSWER
