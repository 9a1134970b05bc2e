"""What can be trained: models, data sets, recipes, engines and the cases made of them."""
