"""What pytest's JUnit XML does not have by itself: infrastructure errors as errors, and what is attached to a test.

In JUnit's terms a failure is an assertion that did not hold, an error anything that was in its way. pytest writes
whatever a test's call raises as a failure.
"""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from _pytest.junitxml import bin_xml_escape, xml_key


def as_error(config: pytest.Config, report: pytest.TestReport) -> None:
    """Have the failure that was just written for ``report`` be an error."""
    xml = config.stash.get(xml_key, None)
    if xml is None or report.when != "call":
        return
    for node in xml.node_reporter(report).nodes:
        if node.tag == "failure":
            node.tag = "error"
            xml.stats["failure"] -= 1
            xml.add_stats("error")


def attach(config: pytest.Config, report: pytest.TestReport, title: str, text: str) -> None:
    """Add ``text`` to the test's system-out."""
    xml = config.stash.get(xml_key, None)
    if xml is not None:
        node = ElementTree.Element("system-out")
        node.text = bin_xml_escape(f"{f' {title} ':-^80}\n{text}\n")
        xml.node_reporter(report).append(node)
