"""Graphs as ONNX: one function for each operation, which writes it in operators of ONNX."""
