"""A Django project that reads real cities through the cache while another thread changes them: see `__main__`."""
