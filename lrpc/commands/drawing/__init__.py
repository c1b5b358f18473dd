"""Pictures: relevance as colour, boxes, labels, panels."""
