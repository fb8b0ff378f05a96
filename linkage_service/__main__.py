"""The command `linkage-service`, as a process of its own; `python -m linkage_service` is the same."""

import gc

from linkage_service.cli import main


def run() -> None:
    """Carries out the command line.

    While modules are imported nothing becomes garbage: to look for some takes a seventh of the start. A command that
    gets as far as its work has the collector again.
    """
    gc.disable()
    main()


if __name__ == "__main__":
    run()
