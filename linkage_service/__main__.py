"""`python -m linkage_service` is the command `linkage-service`."""

from linkage_service.cli import main

if __name__ == "__main__":
    main()
