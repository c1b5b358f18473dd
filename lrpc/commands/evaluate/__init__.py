"""How faithful relevance maps are: deletion and insertion, localisation, randomisation."""
