"""`lrpc analyze` and `lrpc validate`: one layer to the layer before, over a folder of images."""
