"""Train on every device of a fleet: Ray reaches the nodes, the rest is that of any run.

`node` runs on the nodes, everything else on the machine that starts the fleet run.
"""
