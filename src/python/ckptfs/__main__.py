"""`python -m ckptfs`: the command `ckptfs`, of the Python that is named."""
from ._command import main

if __name__ == "__main__":
    main()
