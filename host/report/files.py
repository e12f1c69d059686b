"""Writing a report: the page, and the JSON beside it that it was made from."""

from __future__ import annotations

import json
from pathlib import Path

from host.errors import UsageError
from host.report.data import CheckReport
from host.report.page import render

PAGE_SUFFIX = ".html"
DATA_SUFFIX = ".json"


def require_place(page: Path) -> None:
    """That a report can go to ``page``, before a long check is made for it. Raises UsageError."""
    if page.suffix != PAGE_SUFFIX:
        raise UsageError(f"--report {page} must end in {PAGE_SUFFIX}; its data goes beside it, in {DATA_SUFFIX}")
    if not page.parent.is_dir():
        raise UsageError(f"--report {page}: there is no folder {page.parent}")


def write(report: CheckReport, page: Path) -> Path:
    """Write the page, and its data as ``.json`` beside it, whose path is returned. Raises UsageError."""
    data = page.with_suffix(DATA_SUFFIX)
    text = json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n"
    try:
        data.write_text(text)
        page.write_text(render(json.loads(text)), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write the report: {error}") from error
    return data
