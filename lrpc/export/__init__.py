"""Programs as files for other runtimes: one graph of forward and relevance, as ONNX or as .pt2."""
