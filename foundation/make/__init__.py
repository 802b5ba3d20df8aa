"""What make runs before there is an environment: the standard library, on the system's Python.

An older Python cannot even read the files of this folder, so its version is looked at here.
"""

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.stderr.write(
        "Expected Python 3.10 to 3.13. Received: {}.{}. Name another one: "
        "make setup PYTHON=python3.12\n".format(*sys.version_info)
    )
    sys.exit(2)
