"""Data sets: files that are never trusted, downloads, how pixels lie in them."""
