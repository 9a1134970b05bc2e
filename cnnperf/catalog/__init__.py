"""Models, data sets, recipes and engines, and the cases made of them."""
