"""Fleet runs: the order, the nodes, and real clusters of Ray in which things die."""
