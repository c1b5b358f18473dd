"""Where a job's images come from: folders, lists, tables, COCO annotations, tar shards."""
