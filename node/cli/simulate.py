"""`hanse simulate`: federations in this process or over worker processes, their result files and pictures."""

from node.cli.default_verb import DefaultVerbGroup
from node.cli.simulate_plot import plot
from node.cli.simulate_run import run

simulate = DefaultVerbGroup(
    "simulate",
    default="run",
    commands=[run, plot],
    help="Federations on this machine, in the code that nodes run. Without a verb: `run`.",
    examples=(
        "hanse simulate --data bearings --clients 6              the same as: hanse simulate run ...",
        "hanse simulate plot ./dlmu ./fedavg --to ./pictures     compare two runs",
    ),
)
