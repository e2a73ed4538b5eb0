"""A one-query student as three pure graphs, for runtimes without torch.

    text     input_ids, attention_mask (B, tokens)                          -> text_embedding (B, tokens, width)
    denoise  noise (B, C, *), text_embedding, attention_mask, guidance_scale (B,) -> latent (B, C, *)
    decode   latent                                                         -> waveform (B, channels, samples)

networks.py      the three as modules
real_vocoder.py  vocoders without complex numbers
graph.py         a model's three graphs, with names and examples of their inputs
torch_format.py  a graph as a program of torch.export
onnx_format.py   a graph as an ONNX file, quantised if wanted
openvino_format.py  a graph as an OpenVINO file, with smaller weights if wanted
file_formats.py  these three in one table
difference.py    how far a written graph is from the network
tokenizer.py     the tokenizer as one file
folder.py        the folder with all of these
web_page.py      a page that runs the graphs in a browser; page/ has its files
"""
