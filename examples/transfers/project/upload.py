"""Hand the report over: by default, into a folder for temporary files."""

import os
import shutil
import tempfile
from pathlib import Path

folder = Path(os.environ.get("REPORTS_FOLDER") or Path(tempfile.gettempdir(), "reports"))
folder.mkdir(parents=True, exist_ok=True)
shutil.copyfile("report.json", folder / "report.json")
print(f"the report is in {folder}")
