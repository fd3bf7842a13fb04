"""The Django application whose rows are read and written."""
