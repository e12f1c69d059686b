"""The transcript of a serial link: readable, and bounded."""

from __future__ import annotations

from host.transcript import Transcript


def test_each_kind_of_entry_has_its_mark() -> None:
    transcript = Transcript()
    transcript.sent("for i in range(2):\n print(i)\n")
    transcript.printed("0\n1\n")
    transcript.printed("")
    transcript.data(sent=240)
    transcript.data(sent=10, received=1)
    transcript.happened("Traceback\n  ValueError")
    assert str(transcript).splitlines() == [
        ">>> for i in range(2):",
        "...  print(i)",
        "    0",
        "    1",
        "    (250 bytes of data sent, 1 received)",
        "!   Traceback",
        "      ValueError",
    ]


def test_clearing_forgets_data_under_way_too() -> None:
    transcript = Transcript()
    transcript.sent("x")
    transcript.data(sent=1)
    transcript.clear()
    assert str(transcript) == ""


def test_a_long_entry_keeps_its_ends_and_a_long_conversation_its_last_entries() -> None:
    transcript = Transcript()
    transcript.printed("begin" + 10_000 * "x" + "end")
    assert "begin" in str(transcript)
    assert "(8008 characters are left out)" in str(transcript)
    assert str(transcript).endswith("end")
    for number in range(10_000):
        transcript.sent(f"f({number})")
    text = str(transcript)
    assert len(text) < 20_000
    assert text.startswith("(")
    assert "earlier entries are left out" in text
    assert text.endswith(">>> f(9999)")
