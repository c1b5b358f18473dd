"""Sources that generated programs carry along: each function stands alone, on torch only."""
