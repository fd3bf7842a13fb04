"""Real cities, read through the cache while another thread changes them, with either ORM: see `__main__`."""
