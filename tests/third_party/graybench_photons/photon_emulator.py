"""A task that cannot be imported, on purpose: the package that it needs does not exist."""

from no_such_emulator import PhotonEmulator

__all__ = ["PhotonEmulator"]
