"""Bridges whose score a network learned."""
