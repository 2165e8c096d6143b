"""Reading a model to be rewritten: every constant as the float32 that the nodes see."""

from __future__ import annotations

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs
from onnx import TensorProto, numpy_helper

from imgindex.errors import ModelFileError
from imgindex.graph import brief


def parsed(model: bytes) -> onnx.ModelProto:
    """Parse a model; constants that lie in half precision to make the file small are widened.

    Raises:
        ModelFileError: it is damaged.
    """
    try:
        proto = onnx.load_from_string(model)
        arrays = {tensor.name: tensor for tensor in proto.graph.initializer}
        kept = []
        for node in proto.graph.node:
            if node.op_type == "Cast" and node.input[0] in arrays:
                tensor = arrays[node.input[0]]
                values = numpy_helper.to_array(tensor).astype("float32")
                tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
            else:
                kept.append(node)
        for tensor in proto.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                numpy_helper.to_array(tensor)  # as many numbers as its shape says
    except (DecodeError, ValueError, TypeError) as error:
        raise ModelFileError(f"the model is damaged: {brief(error)}; import it again") from error
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    return proto
