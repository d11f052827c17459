"""Graph convolution: rows are graphs, nodes learn from their neighbours.

Shape suffixes: B = batch, V = nodes, F = features of a node, D = width.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from models_core.architectures.network import Network, Sizes
from models_core.architectures.registry import architecture
from models_core.architectures.scaling import ChannelScale


@architecture("graph_convolution")
class GraphConvolution(Network):
    """``layers`` graph convolutions (Kipf and Welling 2017), then the mean over nodes that are there.

    Takes the inputs ``edges`` ``(V, V)``, weights of at least 0 from row to column, and ``nodes``
    ``(V, F)``. A node without any edge and with features of 0 is padding.

    **Shape**

    - Input: ``(B, V, V)`` and ``(B, V, F)`` float32. Output: as the task has it.

    **Example**

    >>> import torch
    >>> from models_core.spec import Input, Spec
    >>> inputs = {"edges": Input((5, 5)), "nodes": Input((5, 3))}
    >>> spec = Spec("graph_convolution", inputs=inputs, task="classes", outputs=2)
    >>> GraphConvolution(Sizes.of(spec))(torch.ones(4, 5, 5), torch.ones(4, 5, 3)).shape
    torch.Size([4, 2])
    """

    def __init__(
        self, sizes: Sizes, *, width: int = 32, layers: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__(sizes)
        if set(sizes.inputs) != {"edges", "nodes"}:
            raise ValueError(f"takes edges and nodes, not {', '.join(sizes.inputs)}.")
        nodes, edges = sizes.inputs["nodes"].shape, sizes.inputs["edges"].shape
        if len(nodes) != 2 or edges != (nodes[0], nodes[0]):
            raise ValueError(f"takes nodes (V, F) and edges (V, V), not {nodes} and {edges}.")
        self.scale = ChannelScale(nodes, axis=2)
        widths = [nodes[1], *[width] * layers]
        self.own = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.around = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, sizes.outputs)

    def prepare(self, train: Any, log_odds: float) -> None:
        self.scale.learn(train.inputs["nodes"])
        self.learn_answers(train)
        if self.task == "binary":
            nn.init.constant_(self.head.bias, log_odds)

    def forward(self, edge_BVV: Tensor, node_BVF: Tensor) -> Tensor:
        there_BV1 = ((edge_BVV.sum(2) + edge_BVV.sum(1) + node_BVF.abs().sum(2)) > 0).unsqueeze(2)
        both_BVV = edge_BVV + edge_BVV.transpose(1, 2)
        root_BV1 = both_BVV.sum(dim=2, keepdim=True).clamp(min=1e-6).rsqrt()
        near_BVV = both_BVV * root_BV1 * root_BV1.transpose(1, 2)
        h = self.scale(node_BVF) * there_BV1
        for own, around in zip(self.own, self.around, strict=True):
            h = self.dropout(functional.relu(own(h) + near_BVV @ around(h))) * there_BV1
        count_B1 = there_BV1.sum(dim=1).clamp(min=1)
        return self.answered(self.head(h.sum(dim=1) / count_B1))
