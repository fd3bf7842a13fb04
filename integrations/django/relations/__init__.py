"""Relations that are read from the cache."""
