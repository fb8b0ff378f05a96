"""What the exit code of `linkage` tells a script; part of the documented interface."""

from enum import IntEnum
from typing import Self

from linkage_client import errors


class ExitCode(IntEnum):
    """Exit codes, each with what it means in words."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """A member whose value is the code alone."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "done"
    FAILURE = 1, "a failure that fits nothing below; of `linkage doctor`: a check failed"
    USAGE = 2, "the command line is wrong"
    CONFIGURATION = 3, "profile file, key file or secret cannot be used"
    DATA = 4, "input data, linkage schema, encodings or link table cannot be used, or an output exists"
    CONNECTION = 5, "the service could not be reached, or something else answered"
    NOT_AUTHENTICATED = 6, "the service does not know this client"
    REFUSED = 7, "an agreement or a role does not allow it"
    NOT_FOUND = 8, "not found, or not yours"
    CONFLICT = 9, "not possible in the present state"
    INVALID = 10, "the service finds the request invalid"
    TRY_LATER = 11, "the service is overloaded or broken; the same command may succeed later"
    RUN_ENDED = 12, "the run failed or was cancelled"
    RUN_STILL_GOING = 13, "the run goes on, but the time to wait for it is over"
    RISK = 14, "encodings would give away more than the maximum allows"
    LEDGER_ALARM = 15, "the service's ledger is not the one that it was; ask your officer before you go on"
    KEY_EXCHANGE = 16, "sharing a secret stopped: a code, card, envelope or passphrase is wrong, or others come first"
    DEFECT = 70, "a defect in this program"
    INTERRUPTED = 130, "interrupted (Ctrl-C)"
    TERMINATED = 143, "told to end (SIGTERM), or the terminal was closed"


# First match decides, so a class comes before the class it inherits from.
CODES: tuple[tuple[type[errors.LinkageClientError], ExitCode], ...] = (
    (errors.LedgerAlarmError, ExitCode.LEDGER_ALARM),
    (errors.ConfigurationError, ExitCode.CONFIGURATION),
    (errors.KeyFileError, ExitCode.CONFIGURATION),
    (errors.SecretError, ExitCode.CONFIGURATION),
    (errors.KeyExchangeError, ExitCode.KEY_EXCHANGE),
    (errors.DataError, ExitCode.DATA),
    (errors.SchemaError, ExitCode.DATA),
    (errors.PackageError, ExitCode.DATA),
    (errors.JoinError, ExitCode.DATA),
    (errors.OutputExistsError, ExitCode.DATA),
    (errors.OutputError, ExitCode.DATA),
    (errors.AgreementMismatchError, ExitCode.DATA),
    (errors.AgreementInvalidError, ExitCode.DATA),
    (errors.ServiceConnectionError, ExitCode.CONNECTION),
    (errors.UnexpectedAnswerError, ExitCode.CONNECTION),
    (errors.NotAuthenticatedError, ExitCode.NOT_AUTHENTICATED),
    (errors.PolicyRefusalError, ExitCode.REFUSED),
    (errors.NotFoundError, ExitCode.NOT_FOUND),
    (errors.StateConflictError, ExitCode.CONFLICT),
    (errors.InvalidRequestError, ExitCode.INVALID),
    (errors.TryAgainLaterError, ExitCode.TRY_LATER),
    (errors.UploadBusyError, ExitCode.CONFLICT),
    (errors.StoppedError, ExitCode.INTERRUPTED),
    (errors.RunEndedError, ExitCode.RUN_ENDED),
    (errors.RunStillGoingError, ExitCode.RUN_STILL_GOING),
)


def exit_code_of(error: errors.LinkageClientError) -> ExitCode:
    """The exit code for an error of the client's tree."""
    return next((code for kind, code in CODES if isinstance(error, kind)), ExitCode.FAILURE)
