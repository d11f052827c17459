"""Safetensors from outside: a header judged before anything is built for it, then the module."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from models_core.refusals import ArtifactError
from models_core.spec import Spec

if TYPE_CHECKING:
    from models_core.architectures.network import Network
    from models_core.model import Model

ITEM_BYTES: Final[Mapping[str, int]] = {"F32": 4, "BOOL": 1, "I64": 8}
MAX_HEADER_BYTES: Final = 2**22
_ALWAYS_MODEST: Final = 4096  # a parameter of a spec up to here costs little whatever it means


def checked_header(
    body: bytes, name: str, types: frozenset[str] = frozenset(ITEM_BYTES)
) -> dict[str, tuple[int, ...]]:
    """The shapes by tensor: the header is bounded, of known types, and covers the data exactly.

    Raises:
        ArtifactError: ``weights_invalid``.
    """
    try:
        length = int.from_bytes(body[:8], "little")
        if len(body) < 8 or length > len(body) - 8:
            raise ValueError("the header is longer than the file")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"the header has {length} bytes, the limit is {MAX_HEADER_BYTES}")
        header = json.loads(body[8 : 8 + length])
        if not isinstance(header, dict):
            raise ValueError("the header is no object")
        tensors = {name: header[name] for name in header if name != "__metadata__"}
        end = 0
        for tensor in sorted(tensors.values(), key=lambda tensor: tensor["data_offsets"]):
            if tensor["dtype"] not in types:
                raise ValueError(f"a tensor is of type {tensor['dtype']}")
            start, stop = tensor["data_offsets"]
            sizes = tensor["shape"]
            if any(type(size) is not int or size < 0 for size in (start, stop, *sizes)):
                raise ValueError("a size is no whole number of at least 0")
            if start != end or stop - start != ITEM_BYTES[tensor["dtype"]] * math.prod(sizes):
                raise ValueError("the tensors do not fill the file")
            end = stop
        if end != len(body) - 8 - length:
            raise ValueError("bytes are left over")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError("weights_invalid", f"{name}: {error}.") from error
    return {name: tuple(tensor["shape"]) for name, tensor in tensors.items()}


def module_of(spec: Spec, body: bytes, name: str) -> Network:
    """The module of a spec with these weights, in evaluation mode.

    A spec of a few bytes could ask for more memory than there is. So the module is first built
    without any (torch's meta device) and held against the header, which a file must pay for.

    Raises:
        SpecError: the spec is of no architecture known here.
        ArtifactError: ``weights_invalid``: the weights are not those of the spec.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    from models_core.architectures import build

    shapes = checked_header(body, name)
    numbers = sum(math.prod(shape) for shape in shapes.values())
    for param, value in spec.params.items():
        if isinstance(value, int) and abs(value) > max(_ALWAYS_MODEST, numbers):
            raise ArtifactError(
                "weights_invalid", f"{name} holds {numbers} numbers, the spec says {param}={value}."
            )
    with torch.device("meta"):
        hollow = build(spec)
    wanted = {key: tuple(tensor.shape) for key, tensor in hollow.state_dict().items()}
    if wanted != shapes:
        differing = sorted(wanted.items() ^ shapes.items())[0][0]
        raise ArtifactError(
            "weights_invalid",
            f"The weights do not fit the spec: {name} has {differing!r} of shape "
            f"{shapes.get(differing)}, the spec {wanted.get(differing)}.",
        )
    module = build(spec)
    try:
        module.load_state_dict(load_tensors(body))
    except (RuntimeError, SafetensorError) as error:
        raise ArtifactError(
            "weights_invalid", f"The weights do not fit the spec: {error}"
        ) from error
    return module.eval()


def content_of(model: Model, graph: bytes = b"") -> str:
    """64 hex digits over the spec and every weight: what is computed, whoever trained it."""
    digest = hashlib.sha256(model.spec.to_json())
    for name, tensor in sorted(model.module.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    digest.update(graph)
    return digest.hexdigest()
