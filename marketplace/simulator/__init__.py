"""A GCC-like marketplace whose truth is known."""
