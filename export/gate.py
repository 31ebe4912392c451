"""What a SavedModel must not hold if TensorFlow Serving is to serve it; read from the files as they lie on the disk."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from common.cli import UserError

# Every other stateful operation is refused: generators that replay after a restart, prints, asserts, tables, Python.
STATEFUL = {
    "AssignVariableOp", "Case", "DisableCopyOnRead", "If", "MergeV2Checkpoints", "ReadVariableOp", "ResourceGather",
    "ResourceGatherNd", "RestoreV2", "SaveV2", "StatefulPartitionedCall", "VarHandleOp", "While",
}  # fmt: skip
REFUSED = {
    "Assert": "under batching one bad request would fail all that were merged with it",
    "Bitcast": "other runtimes can not run it",
    "EagerPyFunc": "a server has no Python",
    "PyFunc": "a server has no Python",
    "PyFuncStateless": "a server has no Python",
    "ReadFile": "a server must not read files that a request names",
    "WriteFile": "a server must not write files",
}


class GateError(UserError):
    """A SavedModel that must not be published. The message names everything that is wrong."""


def check(version_dir):
    """Reads a SavedModel back and raises `GateError` with all its violations, if there are any."""
    version_dir = Path(version_dir)
    saved_model = saved_model_pb2.SavedModel.FromString((version_dir / "saved_model.pb").read_bytes())
    (graph,) = saved_model.meta_graphs
    found = [*operations(graph), *shapes(graph), *variables(graph, version_dir / "variables" / "variables")]
    if found:
        raise GateError("the model can not be served: " + "; ".join(dict.fromkeys(found)) + ".")


def operations(graph):
    """Violations of the operations, in the graph and in every function of its library."""
    library = graph.graph_def.library.function
    called = {function.signature.name for function in library}
    registry = tf.Graph()  # the list of operations in the file itself leaves out the bodies of loops
    places = [("the graph", graph.graph_def.node), *((f.signature.name, f.node_def) for f in library)]
    for place, nodes in places:
        for node in nodes:
            if node.op in REFUSED:
                yield f"{place} holds {node.op}: {REFUSED[node.op]}"
            elif node.op not in STATEFUL | called and registry.op_def_for_type(node.op).is_stateful:
                yield f"{place} holds {node.op}, which is stateful: answers must depend on the request only"
            if node.device not in ("", "/device:CPU:0", "/device:CPU:*"):
                yield f"{place} binds {node.name} to {node.device}, which a server may not have"
            if node.attr["_XlaMustCompile"].b:
                yield f"{place} calls {node.name} with jit_compile=True: servers have XLA switched off"
    for function in library:
        if function.attr["_XlaMustCompile"].b:
            yield f"{function.signature.name} has jit_compile=True: servers have XLA switched off"


def shapes(graph):
    """Violations of the batch: dimension 0 of every input and output must be unknown, all others known."""
    for name, signature in graph.signature_def.items():
        for tensor, info in [*signature.inputs.items(), *signature.outputs.items()]:
            shape = tf.TensorShape(info.tensor_shape)
            if not name.startswith("__") and (not shape.rank or shape[0] is not None or None in shape[1:]):
                yield f"{tensor} of {name} has shape {shape}, not [None, ...] with all sizes but the batch's known"


def variables(graph, checkpoint):
    """Violations of the weights: the checkpoint must hold those that the signatures read, once, finite, and no more."""
    outputs = [info.name for signature in graph.signature_def.values() for info in signature.outputs.values()]
    used = _variables_behind(graph.graph_def, outputs)
    restored = _variables_behind(graph.graph_def, [graph.saver_def.restore_op_name])
    reader = tf.train.load_checkpoint(str(checkpoint))
    stored = [key for key in reader.get_variable_to_shape_map() if key != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    if used != restored:
        yield f"the signatures read {len(used)} variables, and loading restores {len(restored)}, not the same"
    if len(stored) != len(used):
        yield f"the checkpoint holds {len(stored)} tensors for the {len(used)} variables that the signatures read"
    for key in stored:
        value = reader.get_tensor(key)
        if value.dtype.kind not in "biuSO" and not np.all(np.isfinite(value)):
            name = key.removeprefix("weights/").removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
            yield f"the weight {name} is not finite"


def _variables_behind(graph_def, outputs):
    """Names under which a session shares the variables that `outputs` depend on."""
    nodes = {node.name: node for node in graph_def.node}
    waiting, seen = list(outputs), set()
    while waiting:
        name = waiting.pop().removeprefix("^").partition(":")[0]
        if name not in seen:
            seen.add(name)
            waiting.extend(nodes[name].input)
    return {nodes[name].attr["shared_name"].s for name in seen if nodes[name].op == "VarHandleOp"}
