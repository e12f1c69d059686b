"""`host check --report`: what is counted, the JSON by its schema, and a page that is whole, safe and readable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
import jsonschema
import numpy as np
import pytest
from conftest import ROOT, RunHost

from host.bench import Speed
from host.board import Board, connect
from host.cli import main
from host.distributions import DISTANCE_LIMITS, ERROR_LIMITS, Distances, Errors
from host.emulator import EmulatedBoard
from host.errors import DeviceTimeout, HostError, UsageError
from host.reference import Expected
from host.report import require_place, write
from host.report.data import (
    BoardResult,
    CheckReport,
    Example,
    Failure,
    Firmware,
    Here,
    KernelResult,
    PackIdentity,
    Settings,
)
from host.report.page import render

SCHEMA = json.loads((ROOT / "host" / "report" / "report.schema.json").read_text())
SETTINGS = Settings(seed=7, count=60, max_bytes=98304, max_elements=4096, pack=None, reference=None)
HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}\x00\u202e\ud800&amp;"
AS_SHOWN = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}\\x00\\u202e\\ud800&amp;"


def errors(outside: int = 0) -> Errors:
    return Errors((90, 1, 2, 3, 4, 5, 6, 7, 8, 9, outside), not_finite=11, unbounded=12, largest=0.875)


def kernel(id: str, port: str, **fields: Any) -> KernelResult:
    """One that passed, unless ``fields`` say otherwise."""
    plain = KernelResult(
        id=id,
        dtype="f32",
        passed=True,
        cases=60,
        elements=1234,
        mismatches=0,
        distances=Distances(),
        board_errors=errors(),
        host_errors=errors(),
        examples=(),
        speed=Speed(2048, 254.3125),
        repeat=SETTINGS.repeat(port, id),
    )
    return replace(plain, **fields)


def wrong(id: str, port: str) -> KernelResult:
    """One with a mismatch of an element and one of a call."""
    return kernel(
        id,
        port,
        passed=False,
        mismatches=2,
        distances=Distances((1, *(0,) * len(DISTANCE_LIMITS))),
        board_errors=errors(outside=3),
        examples=(
            Example(3, "x normal [2, 8], eps=1e-05", (1, 4), "0x3f800001", "0x3f800000"),
            Example(5, "x zeros [1, 8], eps=0", None, "EpochDeadline", "float32[1, 8]"),
        ),
        speed=None,
    )


def board_with(port: str, *kernels: KernelResult) -> BoardResult:
    firmware = Firmware("0.1.0", "0123456789abcdef", "release", "thumbv6m-soft", 1, 6, "2.4.3")
    return BoardResult(port, "rpi_pico", "Raspberry Pi Pico", firmware, "aot", None, kernels)


def board_failed(port: str, error: HostError) -> BoardResult:
    return BoardResult(port, error=Failure.of(error))


def report_of(*boards: BoardResult) -> CheckReport:
    return CheckReport(
        created_at="2026-01-02T03:04:05Z",
        command=("host", "check", "--report", "out of order.html"),
        settings=SETTINGS,
        here=Here("0.1.0", "50.0.0", None, "2.3.0", "CPython 3.11.2", "Linux"),
        pack=PackIdentity(
            name="core",
            version="1.0.0",
            author="A <a@localhost>",
            created_at=None,
            manifest_sha256="ab" * 32,
            security_counter=1,
            signing_key=f"ed25519:{'A' * 43}=",
            key_id="0011223344556677",
            signed_by=("0011223344556677",),
        ),
        kernels=("rope_f32", "rmsnorm_f32"),
        boards=boards,
    )


def passing() -> CheckReport:
    return report_of(
        *(board_with(port, kernel("rope_f32", port), kernel("rmsnorm_f32", port)) for port in ("p1", "p2"))
    )


def failing() -> CheckReport:
    """One board is right, one is wrong, one went away."""
    first, second = passing().boards
    bad = replace(second, kernels=(second.kernels[0], wrong("rmsnorm_f32", "p2")))
    return report_of(first, bad, board_failed("p3", DeviceTimeout("silent for 10 s")))


def document(report: CheckReport) -> Any:
    """The report as it is read from its JSON file."""
    return json.loads(json.dumps(report.to_json(), allow_nan=False))


def parse(html: str) -> Element:
    """The page's tree. html5lib's strict parser refuses what a browser would have to repair."""
    tree: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    return tree


def text(element: Element) -> str:
    """What is to be read in it, elements and words one space apart."""
    return " ".join(" ".join(element.itertext()).split())


def svgs(tree: Element) -> list[Element]:
    return [element for element in tree.iter() if str(element.tag).endswith("svg")]


# ---- distributions -------------------------------------------------------------------------------


def test_errors_are_counted_by_fraction_of_the_bound_and_every_element_once() -> None:
    inf, nan = np.inf, np.nan
    value = np.array([1.0, 1.001, 1.5, 2.0, 2.01, nan, nan, inf, 5.0, nan])
    expected = Expected(
        np.array([1.0, 1.0, 1.0, 1.0, 1.0, nan, 1.0, inf, 0.0, 1.0]), np.array([1.0] * 8 + [np.inf] * 2)
    )
    found = Errors.of(value, expected)
    # 0; up to 1/256; up to 1/2; up to 1; outside: 1.01 of it, and NaN for a number
    assert found.counts == (1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2)
    assert (found.not_finite, found.unbounded) == (2, 2)
    assert sum(found.counts) + found.not_finite + found.unbounded == value.size
    assert found.largest == pytest.approx(1.01)
    both = found + Errors.of(np.array([3.0]), Expected(np.array([1.0]), np.array([0.0])))
    assert both.outside == 3 and both.largest == found.largest


def test_distances_are_ulps_over_zero_and_powers_of_two() -> None:
    one = np.array([1.0, 1.0, 0.0, 2.0**-149, 3.0, np.nan], np.float32)
    other = np.array([1 + 2.0**-23, 1 - 2.0**-24, -0.0, -(2.0**-149), 1e9, 1.0], np.float32)
    found = Distances.of(one, other)
    assert found == Distances((3, 0, 1, 0, 0, 0, 1), nan=1)  # -0 is one before 0, so the denormals are 3 apart
    assert Distances.of(np.array([3, 250], np.uint8), np.array([5, 0], np.uint8)).counts == (0, 1, 0, 0, 1, 0, 0)


# ---- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("report", [passing(), failing()])
def test_the_json_fits_the_schema(report: CheckReport) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document(report), SCHEMA)


def test_the_schema_refuses_what_is_not_in_it() -> None:
    told = document(passing())
    told["boards"][0]["kernels"][0]["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        jsonschema.validate(told, SCHEMA)


def test_exit_codes_are_those_of_the_command() -> None:
    assert (passing().passed, document(passing())["exit"]) == (True, 0)
    assert (failing().passed, document(failing())["exit"]) == (False, 1)
    alone = report_of(board_failed("p3", DeviceTimeout("silent")))
    assert document(alone)["exit"] == DeviceTimeout.exit_code


def test_bins_have_their_limits_beside_them() -> None:
    told = document(passing())
    assert len(told["boards"][0]["kernels"][0]["board_errors"]["counts"]) == len(told["error_limits"]) + 1
    assert len(told["boards"][0]["kernels"][0]["distances"]["counts"]) == len(told["distance_limits"]) + 1
    assert told["error_limits"] == list(ERROR_LIMITS)


# ---- page ----------------------------------------------------------------------------------------


def test_a_passing_page_says_so_and_has_no_section_on_failures() -> None:
    tree = parse(render(document(passing())))
    assert text(tree.find(".//title")) == "passed: check of core 1.0.0"
    assert "✓ Passed" in text(tree)
    assert "What is wrong" not in text(tree) and "✗" not in text(tree)


def test_a_failing_page_says_what_failed_where_and_how_to_repeat_it() -> None:
    shown = text(parse(render(document(failing()))))
    assert "✗ Failed on rpi_pico on p2, p3." in shown
    assert "✗ p3 could not be checked: DeviceTimeout: silent for 10 s" in shown
    assert "host check --port p2 --kernel rmsnorm_f32 --seed 7 --count 60" in shown
    assert "3 [1, 4] 0x3f800001 0x3f800000 x normal [2, 8], eps=1e-05" in shown
    assert "5 whole call EpochDeadline float32[1, 8] x zeros [1, 8], eps=0" in shown
    assert "✗ 2 differ, 3 outside the bound" in shown
    assert "host check --report 'out of order.html'" in shown


def test_the_page_has_versions_pack_and_cycles() -> None:
    shown = text(parse(render(document(passing()))))
    for fact in (
        "0123456789abcdef",
        "thumbv6m-soft",
        "2.4.3",
        "ab" * 32,
        "0011223344556677",
        "CPython 3.11.2",
        "254.3",
    ):
        assert fact in shown


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = render(document(failing()))
    tree = parse(html)
    tags = {str(element.tag) for element in tree.iter()}
    assert not tags & {"script", "link", "img", "iframe", "object", "a", "base", "form"}
    assert not any(
        name in {"src", "href"} or name.startswith("on") for element in tree.iter() for name in element.attrib
    )
    assert "://" not in html and "url(" not in html and "@import" not in html
    assert "default-src 'none'" in html


def test_what_a_pack_or_a_board_says_is_never_markup() -> None:
    bad = replace(wrong(HOSTILE, HOSTILE), dtype=HOSTILE, examples=(Example(0, HOSTILE, None, HOSTILE, HOSTILE),))
    plain = board_with(HOSTILE, bad)
    assert plain.firmware is not None
    firmware = Firmware(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1, 6, HOSTILE)
    hostile = replace(plain, board=HOSTILE, title=HOSTILE, firmware=firmware, code=HOSTILE)
    report = report_of(hostile, board_failed(HOSTILE + "2", DeviceTimeout(HOSTILE)))
    pack = replace(report.pack, name=HOSTILE, version=HOSTILE, author=HOSTILE)
    report = replace(report, kernels=(HOSTILE,), pack=pack, command=("host", HOSTILE), here=Here(*[HOSTILE] * 6))
    html = render(document(report))
    tree = parse(html)
    benign = {str(element.tag) for element in parse(render(document(failing()))).iter()}
    assert {str(element.tag) for element in tree.iter()} <= benign
    assert not any(name.startswith("on") for element in tree.iter() for name in element.attrib)
    assert text(tree.find(".//title")).startswith(f"FAILED: check of {AS_SHOWN}")
    for graphic in svgs(tree):
        if graphic.get("role") == "img":
            assert text(graphic[0]).startswith(AS_SHOWN)
    assert not {"\x00", "\u202e", "\ud800"} & set(html)
    html.encode()


def test_tables_and_plots_speak_without_being_seen() -> None:
    tree = parse(render(document(failing())))
    tables = list(tree.iter("table"))
    assert tables and all(table[0].tag == "caption" and text(table[0]) for table in tables)
    assert all(head.get("scope") in {"row", "col"} for head in tree.iter("th"))
    plots = [graphic for graphic in svgs(tree) if graphic.get("aria-hidden") != "true"]
    assert plots
    for plot in plots:
        assert plot.get("role") == "img"
        assert [str(child.tag).rpartition("}")[2].split()[-1] for child in plot][:2] == ["title", "desc"]
        assert text(plot[0]) and text(plot[1])


def test_boards_with_the_same_errors_share_a_plot_and_others_have_their_own() -> None:
    same, differ = (parse(render(document(report))) for report in (passing(), failing()))
    captions = [text(caption) for caption in same.iter("figcaption")]
    assert len(captions) == 2 and all("rpi_pico on p1, rpi_pico on p2" in caption for caption in captions)
    captions = [text(caption) for caption in differ.iter("figcaption")]
    assert len(captions) == 4  # one of distances; of errors, one of rope_f32 and two of rmsnorm_f32


# ---- files ---------------------------------------------------------------------------------------


def test_the_same_report_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert write(failing(), tmp_path / f"{name}.html") == tmp_path / f"{name}.json"
    for suffix in (".html", ".json"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    assert (tmp_path / "one.html").read_text() == render(json.loads((tmp_path / "one.json").read_text()))


def test_a_place_where_no_report_can_go_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.html"):
        require_place(tmp_path / "out.json")
    with pytest.raises(UsageError, match="there is no folder"):
        require_place(tmp_path / "nowhere" / "out.html")


# ---- on the emulated Pico ------------------------------------------------------------------------


@pytest.fixture
def port(emulated_board: EmulatedBoard) -> str:
    return str(emulated_board.wait_for_port(30))


def test_two_boards_one_of_them_absent_make_one_report(
    cli: RunHost, port: str, core_pack: Path, tmp_path: Path
) -> None:
    absent = str(tmp_path / "absent")
    page = tmp_path / "out.html"
    finished = cli(
        *(
            "check",
            "--port",
            port,
            "--port",
            absent,
            "--kernel",
            "swiglu_f32",
            "--kernel",
            "kv_pack_q8",
            "--count",
            "4",
        ),
        *("--pack", core_pack, "--report", page, "--json"),
        SOURCE_DATE_EPOCH="1700000000",
    )
    printed = json.loads(finished.stdout)
    assert finished.returncode == printed["exit"] == 1, finished
    assert [board.get("error") for board in printed["boards"]] == [None, "NoDevice"]
    told = json.loads((tmp_path / "out.json").read_text())
    jsonschema.validate(told, SCHEMA)
    assert (told["created_at"], told["settings"]["count"]) == ("2023-11-14T22:13:20Z", 4)
    assert told["command"][:4] == ["host", "check", "--port", port]
    here, there = told["boards"]
    assert (here["passed"], there["passed"], there["error"]["error"]) == (True, False, "NoDevice")
    assert [kernel["id"] for kernel in here["kernels"]] == told["kernels"] == ["swiglu_f32", "kv_pack_q8"]
    assert all(kernel["board_errors"] == kernel["host_errors"] for kernel in here["kernels"])
    assert all(kernel["speed"]["cycles_per_element"] > 50 for kernel in here["kernels"])
    with connect(port) as board:
        status = board.status()
    assert here["firmware"] == {name: status[name] for name in here["firmware"]}
    assert told["pack"]["manifest_sha256"] == status["pack"]["manifest"]
    parse(page.read_text())


def test_a_failing_check_writes_its_report_and_is_code_1(
    port: str, core_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bit of each result is flipped on its way from the board; of bytes, for those are never NaN."""
    original = Board.run

    def flipped(self: Board, *arguments: Any, **named: Any) -> np.ndarray:
        result = original(self, *arguments, **named)
        result.view(np.uint8).reshape(-1)[0] ^= 1
        return result

    monkeypatch.setattr(Board, "run", flipped)
    page = tmp_path / "out.html"
    words = ["check", "--port", port, "--kernel", "kv_pack_q8", "--count", "3", "--pack", str(core_pack)]
    assert main([*words, "--report", str(page)]) == 1
    assert "MISMATCHES" in capsys.readouterr().out
    told = json.loads((tmp_path / "out.json").read_text())
    jsonschema.validate(told, SCHEMA)
    (found,) = told["boards"][0]["kernels"]
    assert (told["passed"], told["exit"], found["mismatches"]) == (False, 1, 3)
    assert found["distances"] == {"counts": [3, 0, 0, 0, 0, 0, 0], "nan": 0}
    assert [example["case"] for example in found["examples"]] == [0, 1, 2]
    assert found["repeat"] == [
        *("host", "check", "--port", port, "--kernel", "kv_pack_q8", "--seed", "1", "--count", "3"),
        *("--pack", str(core_pack)),
    ]
    assert "✗ Failed on rpi_pico" in text(parse(page.read_text()))


def test_kernels_that_were_through_before_a_board_went_away_are_in_the_report(
    port: str, emulated_board: EmulatedBoard, core_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Board.run

    def run(self: Board, kernel_id: str, *arguments: Any, **named: Any) -> np.ndarray:
        if kernel_id == "kv_pack_q8":
            emulated_board.power_off()
        return original(self, kernel_id, *arguments, **named)

    monkeypatch.setattr(Board, "run", run)
    page = tmp_path / "out.html"
    words = ["check", "--port", port, "--kernel", "swiglu_f32", "--kernel", "kv_pack_q8", "--count", "2"]
    try:
        assert main([*words, "--pack", str(core_pack), "--report", str(page)]) == 3
    finally:
        emulated_board.power_on()
        emulated_board.wait_for_port()
    told = json.loads((tmp_path / "out.json").read_text())
    jsonschema.validate(told, SCHEMA)
    (board,) = told["boards"]
    assert (board["board"], board["passed"], board["error"]["error"]) == ("rpi_pico", False, "NoDevice")
    assert [(kernel["id"], kernel["passed"], kernel["cases"]) for kernel in board["kernels"]] == [
        ("swiglu_f32", True, 2)
    ]
    assert "rpi_pico on" in (shown := text(parse(page.read_text()))) and "could not be checked to the end" in shown


def test_an_only_board_that_is_absent_is_its_own_error_and_in_the_report(
    cli: RunHost, core_pack: Path, tmp_path: Path
) -> None:
    page = tmp_path / "out.html"
    finished = cli("check", "--port", tmp_path / "absent", "--pack", core_pack, "--report", page, "--json")
    assert finished.returncode == 3
    assert json.loads(finished.stdout)["error"] == "NoDevice"
    told = json.loads((tmp_path / "out.json").read_text())
    assert (told["exit"], told["boards"][0]["error"]["error"]) == (3, "NoDevice")


def test_a_board_named_twice_is_a_usage_error(cli: RunHost) -> None:
    finished = cli("check", "--port", "one", "--port", "one")
    assert finished.returncode == 2 and "names a board twice" in finished.stderr
