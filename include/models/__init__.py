"""The models that can be trained: `kinds/` has a module for each, and nothing else knows which there are."""
