"""`python -m xmpprelay` is the same as the command `xmpprelay`."""

from xmpprelay.cli import main

if __name__ == "__main__":
    main()
