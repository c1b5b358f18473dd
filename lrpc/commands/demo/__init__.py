"""`lrpc demo`: a page in the browser on which images are explained."""
