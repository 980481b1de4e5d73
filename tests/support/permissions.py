"""What an ordinary user may do with files, for tests that run as root."""

import ctypes
import os

_VERSION = 0x20080522
# To pass over the permissions of files, for writing and for reading.
_OVERRIDES = 0b110


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("process", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def heed() -> None:
    """Let the permissions of files hold in this process, and its children, although root runs it."""
    if os.geteuid() != 0:
        return
    system = ctypes.CDLL(None, use_errno=True)
    header, capabilities = _Header(_VERSION, 0), (_Capabilities * 2)()
    if system.capget(ctypes.byref(header), capabilities):
        raise OSError(ctypes.get_errno(), "capget")
    capabilities[0].effective &= ~_OVERRIDES
    capabilities[0].permitted &= ~_OVERRIDES
    if system.capset(ctypes.byref(header), capabilities):
        raise OSError(ctypes.get_errno(), "capset")
