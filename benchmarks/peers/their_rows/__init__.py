"""The application of all other sides: the row without us."""
