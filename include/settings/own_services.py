"""The services of this project itself, which `make` starts on this machine."""

from urllib.parse import urlsplit

from include.settings.places import PROJECT_DIR

HERE = ("127.0.0.1", "::1", "localhost")


def how_to_start(address: str) -> str:
    """What to say where a service cannot be used, if it may be one of this project: with a blank before it; else none.

    :param address: of the service.
    """
    try:
        is_here = urlsplit(address).hostname in HERE
    except ValueError:  # no address
        return ""
    if not is_here or not (PROJECT_DIR / "Makefile").is_file():
        return ""
    return """ For this project's own services: eval "$(make -s env-vars)" (starts them, unless `make serve` has)."""
