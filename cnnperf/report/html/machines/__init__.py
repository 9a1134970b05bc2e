"""The page that compares machines."""
