"""The page of a judged fleet."""
