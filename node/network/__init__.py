"""The network: one transport interface, libp2p behind it, addresses, and blobs.

Only the files named `libp2p_*` import libp2p, and they are imported only when a transport is opened.
"""
