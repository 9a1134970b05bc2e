"""What a comparison is written as, for people and for machines."""
