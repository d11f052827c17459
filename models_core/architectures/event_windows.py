"""Windows of discrete events: what should have come next, and which counts were never seen.

Three looks at one window, joined into one logit:

* a causal network says how likely each event was after those before it (as DeepLog asks, Du, Li,
  Zheng, Srikumar 2017; a convolution in place of an LSTM, for a fixed context and cheap serving);
* a memory of the count vectors of training says how far the window's counts are from any of them,
  the plain method that is hard to beat on session data (Landauer, Skopik, Wurzenberger 2023);
* further columns speak for themselves.

All but the first are measured, not learned; ``JoinedModule`` weighs them.

Shape suffixes: B = batch, N = training rows, F = features, W = window, C = classes of events,
E = embedding, D = width, M = memory, T = likeliest events.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models_core.architectures.joined import JoinedModule, remembered_negatives
from models_core.architectures.registry import architecture
from models_core.table import Table

NUM_CODES = 65_536
LIKELIEST = 3
_NOTHING, _UNKNOWN = 0, 1  # classes; those of known events follow
_FLOOR = 1e-4  # of all probability is spread evenly, so one event costs at most some 14 nats
_SOME_UNKNOWN = 0.01  # of the events are hidden in training, so that unknown ones have a place
_MEASURED = 6  # parts made here; two more for each further column, one for each direction


@architecture("event_windows")
class EventWindows(JoinedModule):
    """``window`` event codes, the number judged before, and further columns, to one logit.

    Codes are whole numbers 1 .. 65536 in order of time, 0 behind the last. Further columns are 0
    where nothing is unusual.

    **Shape**

    - Input: ``(B, window + 1 + further)`` float32. Output: ``(B,)`` float32 logits.
    - ``details``: ``(B, window * (1 + 2 * 3))``: the surprise of each event in nats (-1: none), the
      codes of the three events likeliest in its place (0: one that training did not know), and
      their probabilities.

    **Example**

    >>> module = EventWindows(6, window=4).eval()
    >>> x_BF = torch.tensor([[7.0, 8.0, 0.0, 0.0, 0.0, 0.0]])
    >>> module(x_BF).shape, module.details(x_BF).shape
    (torch.Size([1]), torch.Size([1, 28]))
    """

    class_of_code: Tensor
    code_of_C: Tensor
    memory_MC: Tensor
    memory_square_M: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        window: int = 64,
        classes: int = 128,
        context: int = 8,
        embedding: int = 16,
        width: int = 64,
        memory: int = 1024,
        join: int = 16,
    ) -> None:
        further = num_features - window - 1
        super().__init__(num_features, _MEASURED + 2 * max(further, 0), join)
        if min(window, context, embedding, width, memory, join) < 1 or classes < 3:
            raise ValueError("Sizes must be at least 1, and classes at least 3.")
        if further < 0:
            raise ValueError(f"{num_features} features hold no window of {window} and its count.")
        self.window = window
        self.context = context
        self.register_buffer("class_of_code", torch.full((NUM_CODES + 1,), float(_UNKNOWN)))
        self.class_of_code[0] = _NOTHING
        self.register_buffer("code_of_C", torch.zeros(classes))
        self.register_buffer("memory_MC", torch.zeros(memory, classes - 1))
        self.register_buffer("memory_square_M", torch.zeros(memory))
        self.embed = nn.Embedding(classes, embedding)
        self.context_layer = nn.Conv1d(embedding, width, context)
        self.middle = nn.Linear(width, width)
        self.next = nn.Linear(width, classes)

    def prepare(self, train: Table, log_odds: float) -> None:
        """Learn the events that occur, and the counts to remember.

        Remembered are negatives whose weight is 0: rows that nothing is fitted to besides, or a
        row's own memory would call it familiar. Without any, all negatives are.
        """
        x_NF = torch.from_numpy(train.x_NF)
        self._learn_classes(x_NF[torch.from_numpy(train.y_N == 0)])
        self.remember(x_NF[remembered_negatives(train)])
        self.start_at(log_odds)

    def _learn_classes(self, x_NF: Tensor) -> None:
        codes = x_NF[:, : self.window].long().flatten()
        found, counts = torch.unique(codes[codes > 0], return_counts=True)
        room = len(self.code_of_C) - 2
        order = torch.argsort(counts, descending=True, stable=True)[:room]
        chosen = found[order].sort().values
        self.class_of_code[1:] = _UNKNOWN
        self.class_of_code[chosen] = torch.arange(2, 2 + len(chosen)).float()
        self.code_of_C.zero_()
        self.code_of_C[2 : 2 + len(chosen)] = chosen.float()

    def remember(self, x_NF: Tensor) -> None:
        """Remember the counts of these rows, and of no others; the commonest where room is short."""
        count_NC = torch.cat(
            [self._counts(self._classes(part)) for part in torch.split(x_NF, 4096)]
        )
        seen_NC, times_N = torch.unique(count_NC, dim=0, return_counts=True)
        room = len(self.memory_MC)
        order = torch.argsort(times_N, descending=True, stable=True)
        often = order[: room - room // 4]
        rest = order[room - room // 4 :]
        evenly = rest[:: max(1, -(-len(rest) // (room // 4 or 1)))][: room // 4]
        kept_MC = seen_NC[torch.cat([often, evenly])][:room]
        # Unused places repeat the first one.
        self.memory_MC.copy_(kept_MC[torch.arange(room).clamp(max=len(kept_MC) - 1)])
        self.memory_square_M.copy_((self.memory_MC**2).sum(dim=1))

    def auxiliary_loss(self, *inputs_and_y: Tensor) -> Tensor:
        """The mean surprise of the events of the batch's negatives, in nats."""
        x_BF, y_B = inputs_and_y
        class_BW = self._classes(x_BF)
        hidden_BW = torch.rand(class_BW.shape, device=x_BF.device) < _SOME_UNKNOWN
        class_BW = torch.where(hidden_BW & (class_BW > _NOTHING), _UNKNOWN, class_BW)
        surprise_BW = functional.cross_entropy(
            self._next(class_BW).flatten(0, 1), class_BW.flatten(), reduction="none"
        ).view_as(class_BW)
        counted_BW = (class_BW > _NOTHING) & (y_B == 0).unsqueeze(1)
        return (surprise_BW * counted_BW).sum() / counted_BW.sum().clamp(min=1)

    def details(self, x_BF: Tensor) -> Tensor:
        class_BW = self._classes(x_BF)
        probability_BWC = self._probabilities(class_BW)
        surprise_BW = self._surprise(class_BW, probability_BWC)
        surprise_BW = torch.where(class_BW > _NOTHING, surprise_BW, -1.0)
        likely_BWT, class_BWT = probability_BWC.topk(min(LIKELIEST, probability_BWC.shape[2]))
        code_BWT = self.code_of_C[class_BWT]
        return torch.cat([surprise_BW, code_BWT.flatten(1), likely_BWT.flatten(1)], dim=1)

    def _classes(self, x_BF: Tensor) -> Tensor:
        code_BW = x_BF[:, : self.window].clamp(0, NUM_CODES).long()
        return self.class_of_code[code_BW].long()

    def _counts(self, class_BW: Tensor) -> Tensor:
        """How often each class occurs, without that of the empty places."""
        class_C = torch.arange(1, len(self.code_of_C), device=class_BW.device)
        return (class_BW.unsqueeze(2) == class_C).float().sum(dim=1)

    def _next(self, class_BW: Tensor) -> Tensor:
        """``(B, W, C)`` logits of the event in each place, from the ``context`` ones before it."""
        embedded_BEW = self.embed(class_BW).transpose(1, 2)
        before_BEW = functional.pad(embedded_BEW, (self.context, 0))[:, :, :-1]
        h_BWD = torch.relu(self.context_layer(before_BEW)).transpose(1, 2)
        logit_BWC: Tensor = self.next(torch.relu(self.middle(h_BWD)) + h_BWD)
        return logit_BWC

    def _probabilities(self, class_BW: Tensor) -> Tensor:
        share_BWC = self._next(class_BW).float().softmax(dim=2)
        return share_BWC * (1 - _FLOOR) + _FLOOR / share_BWC.shape[2]

    def _surprise(self, class_BW: Tensor, probability_BWC: Tensor) -> Tensor:
        own_BW = probability_BWC.gather(2, class_BW.unsqueeze(2)).squeeze(2)
        return -torch.log(own_BW)

    def parts(self, x_BF: Tensor) -> Tensor:
        """``(B, P)``: what is unusual, each part larger where it is more so."""
        class_BW = self._classes(x_BF)
        place_W = torch.arange(self.window, device=x_BF.device).float()
        fresh_BW = (class_BW > _NOTHING) & (place_W >= x_BF[:, self.window : self.window + 1])
        surprise_BW = self._surprise(class_BW, self._probabilities(class_BW)) * fresh_BW
        num_fresh_B = fresh_BW.sum(dim=1).clamp(min=1).float()
        most_BT = surprise_BW.topk(min(LIKELIEST, self.window), dim=1).values
        count_BC = self._counts(class_BW)
        num_B = count_BC.sum(dim=1)
        distance_B = self._distance(count_BC) * (num_B > 0)  # no events, no unusual ones
        parts = [
            most_BT[:, 0],
            most_BT.mean(dim=1),
            surprise_BW.sum(dim=1) / num_fresh_B,
            (fresh_BW & (class_BW == _UNKNOWN)).sum(dim=1).float().log1p(),
            distance_B.clamp(max=3.0),  # seen, nearly seen, or not at all
            distance_B / (num_B + 1.0),
        ]
        further_BS = x_BF[:, self.window + 1 :]
        return torch.cat(
            [torch.stack(parts, dim=1), torch.relu(further_BS), torch.relu(-further_BS)], dim=1
        )

    def _distance(self, count_BC: Tensor) -> Tensor:
        """The squared distance of each count vector to the nearest remembered one."""
        square_B1 = (count_BC**2).sum(dim=1, keepdim=True)
        distance_BM = square_B1 - 2 * count_BC @ self.memory_MC.T + self.memory_square_M
        nearest_B: Tensor = distance_BM.amin(dim=1).clamp(min=0.0)
        return nearest_B
