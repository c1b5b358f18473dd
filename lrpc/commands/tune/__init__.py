"""`lrpc tune`: rules for each part of a model, chosen by what maps show on annotated images."""
