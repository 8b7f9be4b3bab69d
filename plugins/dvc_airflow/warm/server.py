"""The server of one folder: imports the modules once, then forks for each command. A program of its own.

Its environment is the one in its folder's settings, from its start on, and it never reads a request: its forks do.
"""

import os
import sys


def main() -> None:
    """Import, listen, and fork until it is idle for long or the environment has changed."""
    folder, lock = sys.argv[1], int(sys.argv[2])
    # Ours can be found during this function alone: a command finds nothing of it, neither on its path nor in memory.
    plugins = os.path.abspath(os.path.join(__file__, "..", "..", ".."))
    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.append(plugins)
    from dvc_airflow.warm.serving import Server

    sys.path.remove(plugins)
    for name in [name for name in sys.modules if name.partition(".")[0] == "dvc_airflow"]:
        del sys.modules[name]
    os.set_inheritable(lock, False)
    Server(folder, lock).run()
    os._exit(0)  # what the imported modules want done at exit is for those that use them


main()
