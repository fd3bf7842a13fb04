"""What operators do: look into caches, check them, and prove that they tell the truth."""
