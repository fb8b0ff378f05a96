"""`python -m linkage_client` is the command `linkage`, for machines whose PATH lacks the scripts folder."""

from linkage_client.cli import main

if __name__ == "__main__":
    main()
