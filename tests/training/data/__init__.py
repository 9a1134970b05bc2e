"""Tests of the data sets: descriptions, files, splits, transforms, loaders, download."""
