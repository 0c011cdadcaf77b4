"""The local interface of a node: JSON-RPC 2.0 over HTTP and a Unix socket, events, metrics, health.

Read `server.py` first. Nothing in here imports libp2p or torch, so it answers within a second of the start.
"""
