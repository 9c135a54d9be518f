"""The reconciler: spec → observe → plan → act → status, and the loop that decides when.

Deciding is pure; doing is small steps; everything outside the process comes through a Store (`reconciler.store`)
and a Machine (`resources.machine`).
"""
