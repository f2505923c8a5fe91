"""How much memory a training takes, and how much there is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch

from genopred.training.networks.base import n_parameters
from genopred.training.networks.registry import NETWORKS, all_sizes, build, check_window
from genopred.training.splits import WindowShape


def training_bytes(kind: str, n_tracks: int, shape: WindowShape, batch_size: int, sizes: dict[str, Any]) -> int:
    """About how much memory training takes beside the data: weights with their copies, and what backward needs.

    What autograd keeps of one window is counted and multiplied.
    """
    with torch.random.fork_rng([]):
        network = build(kind, n_tracks, shape, **sizes)
    kept: dict[tuple[int, int], int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr(), tensor.numel()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.random.fork_rng([]), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network.train().fast(torch.zeros(1, shape.window, 4))
    # weights, gradients, two of AdamW, average, best, and one more while a checkpoint is written
    weights = 7 * sum(value.numel() * value.element_size() for value in network.parameters())
    # backward makes gradients beside what forward kept
    return int(weights + 1.3 * batch_size * sum(kept.values()))


def least_bytes(kind: str, n_tracks: int, shape: WindowShape, batch: int, sizes: dict[str, Any]) -> int:
    """Memory that training takes at the very least, without building the network.

    Its weights, gradients and AdamW's two moments, and what the backward pass needs at least.
    """
    network, full = NETWORKS[kind], all_sizes(kind, sizes)
    check_window(shape)
    with torch.device("meta"):
        weights = n_parameters(network(n_tracks, shape, full))
    return 4 * (4 * weights + batch * network.kept(shape, full))


def free_memory() -> int | None:
    """Bytes that this process may still take: what the system calls available, or less where a limit is set."""
    found: list[int] = []
    try:
        text = Path("/proc/meminfo").read_text()
        found.append(1024 * int(re.search(r"MemAvailable:\s+(\d+)", text)[1]))  # type: ignore[index]
    except (OSError, TypeError):
        try:
            found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (ValueError, OSError, AttributeError):
            pass
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            stat = (Path(limit).parent / "memory.stat").read_text()
            # pages of files that were read are given back when they are needed
            cache = re.search(r"^(?:total_)?inactive_file (\d+)", stat, re.MULTILINE)
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()) + (int(cache[1]) if cache else 0))
        except (OSError, ValueError):
            continue
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            found.append(most - pages * os.sysconf("SC_PAGE_SIZE"))
    except (ImportError, OSError, ValueError):
        pass
    return max(0, min(found)) if found else None
