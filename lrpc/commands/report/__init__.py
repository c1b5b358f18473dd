"""`lrpc report`: the results of a job as a folder of pages that a browser opens from disk."""
