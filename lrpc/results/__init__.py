"""The results of a job (`lrpc run --data`): what its files are called and hold, and how they are
read (`lrpc.open`). Nothing here needs torch."""
