"""Diffusions of shapes along the branches of a tree."""
