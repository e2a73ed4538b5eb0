"""The name of :class:`~consistency_tta.components.scalar_embedding.ScalarEmbedding` in folders of version 0.1."""

from diffusers import ModelMixin  # noqa: F401  # diffusers loads a part only out of a module that has its base class

from consistency_tta.components.scalar_embedding import ScalarEmbedding

GuidanceEmbedding = ScalarEmbedding
