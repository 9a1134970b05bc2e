"""The page of a history of records."""
