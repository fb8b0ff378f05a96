"""Everything the ledger can refuse, as one tree, so that a caller catches what it can act on.

LedgerError
├── EventError        a header or body that may not enter the log, or bytes that are not one
├── MissingNodeError  the node store lacks a subtree that the log's size promises
├── NoteError         a signed note that is malformed, or signed by nobody we know
│   └── CheckpointError   a genuine note whose text is not a checkpoint of this log
├── ReceiptError      text that is not a receipt
├── ProofError        a proof that does not prove what it is shown for
└── BundleError       a file that is no bundle, or was damaged beyond reading; content that no bundle can hold
"""


class LedgerError(Exception):
    """Root of the tree. Messages never quote what was read."""


class EventError(LedgerError, ValueError):
    """A header or body that may not enter the log, or bytes that are not one."""


class MissingNodeError(LedgerError, LookupError):
    """The node store lacks a subtree that the log's size promises."""


class NoteError(LedgerError, ValueError):
    """A signed note that is malformed, or signed by nobody we know."""


class CheckpointError(NoteError):
    """A note whose text is not a checkpoint of the log it was taken for."""


class ReceiptError(LedgerError, ValueError):
    """Text that is not a receipt."""


class ProofError(LedgerError, ValueError):
    """A proof that does not prove what it is shown for."""


class HandoverError(NoteError):
    """A key hand-over that is malformed, not signed by both keys, or out of sequence."""


class PolicyError(LedgerError, ValueError):
    """A witness policy that cannot be meant: two witnesses of one key, or a quorum that cannot be reached."""


class WitnessError(LedgerError):
    """A witness's folder that cannot be used, or is in use."""


class BundleError(LedgerError, ValueError):
    """A file that is no bundle or was damaged beyond reading; or content that no bundle can hold."""
