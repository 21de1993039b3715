"""One vector a video, ranked by inner products: FAISS's flat index, and the product written out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def faiss_index(vectors: Floats, threads: int) -> Any:
    """FAISS's ``IndexFlatIP`` over ``vectors [V, D]``: ``.search(queries, k)``."""
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def torch_search(vectors: Floats, queries: Floats, k: int) -> Any:
    """The search as one matrix product and ``topk``, float32: a function without arguments."""
    import torch

    rows, given = torch.from_numpy(vectors), torch.from_numpy(queries)

    def search() -> Any:
        with torch.inference_mode():
            return (given @ rows.T).topk(min(k, len(rows)))

    return search
