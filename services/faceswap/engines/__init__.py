"""Swap engines: one interface, and the engines that this deployment has."""
