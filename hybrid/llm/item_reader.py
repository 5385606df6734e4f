"""Items as soft tokens: the language model reads one learned token in the place of a title.

The token of an item is a learned map of the vector of its text, as HLLM's (arXiv 2409.12740) user model reads the
vectors of its item model. Letters: N items (row 0 is padding), H LLM width, C components, I items read.
"""

import torch
from torch import Tensor, nn

from bridges.soft_tokens import EmbeddingSize
from bridges.whitening import Whitening, component_count


class ItemReader(nn.Module):
    """Whitened text vectors [N, C] and their map to tokens, about as long as an ordinary embedding at first."""

    vectors: Tensor
    """[N, C]; zero until `set_vectors`."""
    ready: Tensor
    """Whether the vectors are there."""

    def __init__(self, n_items: int, vector_width: int, components: int, llm_width: int, embedding_norm: float) -> None:
        super().__init__()
        count = component_count(n_items, vector_width, components or vector_width)
        self.projection = nn.Linear(count, llm_width)
        self.size = EmbeddingSize(llm_width, embedding_norm)
        self.register_buffer("vectors", torch.zeros(n_items, count))
        self.register_buffer("ready", torch.tensor(False))

    def set_vectors(self, vectors: Tensor) -> None:
        """Take the vectors [N, H] of all item texts; they are whitened here."""
        count = self.vectors.shape[1]
        self.vectors.copy_(Whitening.fit(vectors, count).apply(vectors))
        self.ready.fill_(True)

    def forward(self, items: Tensor) -> Tensor:
        """Ids [I] -> tokens [I, H]."""
        return self.size(self.projection(self.vectors[items]))
