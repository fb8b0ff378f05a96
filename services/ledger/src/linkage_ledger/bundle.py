"""A bundle: a part of the log, without a gap, in one file that anybody can check offline.

``write_bundle`` makes one, ``verify_bundle`` checks one and answers in words. What is in it, and how it is written,
is in ``bundle_format``; why it is the zip that it is, in ``bundle_zip``. The page that ``verify_page`` gives checks the
same file in a browser.
"""

from linkage_ledger.bundle_format import BundleLeaf
from linkage_ledger.bundle_page import verify_page
from linkage_ledger.bundle_report import BundleFinding, BundleReport
from linkage_ledger.bundle_verify import verify_bundle
from linkage_ledger.bundle_writer import write_bundle

__all__ = ["BundleFinding", "BundleLeaf", "BundleReport", "verify_bundle", "verify_page", "write_bundle"]
