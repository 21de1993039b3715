"""The errors that vtr raises. Every message says what was expected, what came, and what to do."""


class VtrError(Exception):
    """Base of every error that vtr raises on purpose."""


class UsageError(VtrError, ValueError):
    """An argument that cannot be used: wrong shape, type, range or combination."""


class UnsupportedError(UsageError):
    """Sound, but not what this build, this processor or the native core can do."""


class BackendError(VtrError, RuntimeError):
    """A backend that was asked for by name is missing or failed; names the install command."""


class DeviceError(VtrError, RuntimeError):
    """A GPU, or its driver, that failed; the message has the driver's name for the error."""


class CheckpointError(VtrError):
    """A checkpoint that cannot be read, or whose tensors do not say which model they belong to."""


class BundleError(VtrError):
    """A bundle that is missing, truncated, altered, forged or of another format version."""


class IndexStoreError(VtrError):
    """An index directory that is missing, damaged, locked or made with another model."""


class DecodeError(VtrError):
    """A video file that cannot be decoded; the message is the one-line reason shown in reports."""
