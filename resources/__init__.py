"""The resource kinds: what a service is made of. One file a kind; none imports another.

A kind reads (`observe`), decides (`plan`, pure) and names small steps; all it may touch is the Machine
(`resources.machine`). The loop that drives them is the `reconciler` package.
"""
