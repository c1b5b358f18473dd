"""Looking at graphs: trees, tables, differences and drawings of .lrp files."""
