"""What the folders of a ledger are called in a node's data: what `ledger_folder.py` opens and `disk_use.py` counts."""

LEDGER, JOINING, JOINED = "ledger", "ledger.joining", "ledger.joined-"
