"""A web page on which models are sampled and compared (extra ``app``)."""
