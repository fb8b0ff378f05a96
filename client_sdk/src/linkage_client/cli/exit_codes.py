"""What the exit code of `linkage` tells a script; part of the documented interface.

| code | meaning |
|---|---|
| 0 | done |
| 1 | a failure that fits nothing below |
| 2 | the command line is wrong |
| 3 | profile file, key file or secret cannot be used |
| 4 | input data, linkage schema, encodings or link table cannot be used, or an output exists |
| 5 | the service could not be reached, or something else answered |
| 6 | the service does not know this client |
| 7 | an agreement or a role does not allow it |
| 8 | not found, or not yours |
| 9 | not possible in the present state |
| 10 | the service finds the request invalid |
| 11 | the service is overloaded or broken; the same command may succeed later |
| 12 | the run failed or was cancelled |
| 13 | the run goes on, but the time to wait for it is over |
| 70 | a defect in this program |
| 130 | interrupted |
"""

from enum import IntEnum

from linkage_client import errors


class ExitCode(IntEnum):
    """See the table of the module."""

    DONE = 0
    FAILURE = 1
    USAGE = 2
    CONFIGURATION = 3
    DATA = 4
    CONNECTION = 5
    NOT_AUTHENTICATED = 6
    REFUSED = 7
    NOT_FOUND = 8
    CONFLICT = 9
    INVALID = 10
    TRY_LATER = 11
    RUN_ENDED = 12
    RUN_STILL_GOING = 13
    DEFECT = 70
    INTERRUPTED = 130


# First match decides, so a class comes before the class it inherits from.
CODES: tuple[tuple[type[errors.LinkageClientError], ExitCode], ...] = (
    (errors.ConfigurationError, ExitCode.CONFIGURATION),
    (errors.KeyFileError, ExitCode.CONFIGURATION),
    (errors.SecretError, ExitCode.CONFIGURATION),
    (errors.DataError, ExitCode.DATA),
    (errors.SchemaError, ExitCode.DATA),
    (errors.PackageError, ExitCode.DATA),
    (errors.JoinError, ExitCode.DATA),
    (errors.OutputExistsError, ExitCode.DATA),
    (errors.AgreementMismatchError, ExitCode.DATA),
    (errors.ServiceConnectionError, ExitCode.CONNECTION),
    (errors.UnexpectedAnswerError, ExitCode.CONNECTION),
    (errors.NotAuthenticatedError, ExitCode.NOT_AUTHENTICATED),
    (errors.PolicyRefusalError, ExitCode.REFUSED),
    (errors.NotFoundError, ExitCode.NOT_FOUND),
    (errors.StateConflictError, ExitCode.CONFLICT),
    (errors.InvalidRequestError, ExitCode.INVALID),
    (errors.TryAgainLaterError, ExitCode.TRY_LATER),
    (errors.RunEndedError, ExitCode.RUN_ENDED),
    (errors.RunStillGoingError, ExitCode.RUN_STILL_GOING),
)


def exit_code_of(error: errors.LinkageClientError) -> ExitCode:
    """The exit code for an error of the client's tree."""
    return next((code for kind, code in CODES if isinstance(error, kind)), ExitCode.FAILURE)
