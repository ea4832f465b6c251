"""Storages: how a library's files are read and changed. One contract, and a class for each kind of place."""
