"""`hanse reproduce`: the papers' tables and figures, each one command away, beside what they printed.

An experiment is one file here: its sizes by scale, its runs, its tables and plots, and a paragraph that is computed
from the figures. What trains, adds noise and aggregates is the node's own code, in `fl`.
"""
