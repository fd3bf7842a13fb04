"""What managers and instances can do besides: updates, counters, hooks."""
