"""``python -m featurestore``: the command line where its script is not on the path."""

from featurestore.api.cli import main

if __name__ == "__main__":
    main()
