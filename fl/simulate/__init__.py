"""Federations in one process, with the very pieces that nodes run: what a league would come to, before there is one."""
