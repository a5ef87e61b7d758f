"""The errors that people see: each one names the value, the limit and the way out, on one line."""


class SensoriumError(Exception):
    """Base of every error a user can cause or meet. The command line prints it without a traceback.

    `exit_code` is what a script sees: 2 when the input was wrong, 1 when the work itself failed.
    """

    exit_code = 2


class ConfigError(SensoriumError):
    """A setting, recipe or configuration file is unreadable, unknown or out of range."""


class DataError(SensoriumError):
    """A data file, source or message cannot be used as it is."""


class CheckpointError(SensoriumError):
    """A model folder or weight file is missing, broken, or does not fit its configuration."""


class RequestError(SensoriumError):
    """A call asks for what the model cannot do: too long a context, a sampling value out of range."""


class TrainingError(SensoriumError):
    """A run ended before its budget (NaN, full disk); the last good checkpoint is intact."""

    exit_code = 1
