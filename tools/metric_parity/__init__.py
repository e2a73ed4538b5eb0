"""Our metrics against independent implementations, on the same embeddings, logits and sounds."""
