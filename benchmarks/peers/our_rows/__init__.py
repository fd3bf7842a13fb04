"""The application of our side: the row in each of our caches."""
