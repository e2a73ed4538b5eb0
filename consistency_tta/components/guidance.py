"""The name of :class:`~consistency_tta.components.scalar_embedding.ScalarEmbedding` in folders of version 0.1."""

from consistency_tta.components.scalar_embedding import ScalarEmbedding

GuidanceEmbedding = ScalarEmbedding
