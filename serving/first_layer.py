"""The first layer of heads.onnx with fewer passes over its [N, H] values, which cost more than they compute.

As converted:   gather(user part) + (item part + bias) + encoded row @ W       a product and four passes
As rewritten:   (user part + bias) + (item part + encoded row @ W)             a product and one pass

The product starts from the item part (Gemm with C), and the bias is added to the user part's one row: the graph then
takes one request at a time, and no input `request` unless something else reads it (offsets of groups, a history's
steps). Beside a query of the history, the item part is the first output of a Split.
"""

from __future__ import annotations

from typing import NamedTuple

from onnx import ModelProto, NodeProto, helper


class FirstLayer(NamedTuple):
    """The nodes of the sum as converted, and the names of the item part and the bias."""

    gather: NodeProto
    biased: NodeProto
    joined: NodeProto
    product: NodeProto
    total: NodeProto
    item: str
    bias: str


def rewrite(model: ModelProto) -> bool:
    """Rewrite the sum in place; False, and nothing changed, where the graph does not hold it as converted."""
    layer = _find(model)
    if layer is None:
        return False
    gather, product, total = layer.gather, layer.product, layer.total
    user, first = f"{gather.name}/biased", f"{product.name}/from_items"
    biased = helper.make_node("Add", [gather.input[0], layer.bias], [user], name=user)
    gemm = helper.make_node("Gemm", [*product.input, layer.item], [first], name=first)
    summed = helper.make_node("Add", [user, first], total.output, name=total.name)
    instead = {gather.name: [biased], product.name: [gemm], total.name: [summed]}
    instead |= {layer.biased.name: [], layer.joined.name: []}
    nodes = [new for node in model.graph.node for new in instead.get(node.name, [node])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if not any("request" in node.input for node in nodes):
        takes = next(tensor for tensor in model.graph.input if tensor.name == "request")
        model.graph.input.remove(takes)
    return True


def _find(model: ModelProto) -> FirstLayer | None:
    maker = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    split = _only(model, "Split", "item_part")
    item = "item_part" if split is None else split.output[0]
    biased = _only(model, "Add", item)
    joined = None if biased is None else _only(model, "Add", biased.output[0])
    total = None if joined is None else _only(model, "Add", joined.output[0])
    if biased is None or joined is None or total is None:
        return None
    gather, product = maker.get(_other(joined, biased.output[0])), maker.get(_other(total, joined.output[0]))
    if gather is None or gather.op_type != "Gather" or gather.input[1] != "request":
        return None
    bias = _other(biased, item)
    if product is None or product.op_type != "MatMul" or not {bias, product.input[1]} <= constants:
        return None
    return FirstLayer(gather, biased, joined, product, total, item, bias)


def _only(model: ModelProto, kind: str, takes: str) -> NodeProto | None:
    """The node of a kind that takes a value, where it is the only node that does."""
    takers = [node for node in model.graph.node if takes in node.input]
    return takers[0] if len(takers) == 1 and takers[0].op_type == kind else None


def _other(node: NodeProto, name: str) -> str:
    return next(taken for taken in node.input if taken != name)
