"""The coherence bench: real processes, PostgreSQL and real servers, and every answer judged. See `__main__`."""
