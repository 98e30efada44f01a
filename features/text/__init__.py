"""Text: the normal form of words, and the index that says which items answer a query."""
