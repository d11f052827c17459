from __future__ import annotations

import io
from pathlib import Path

from lepton_apps.embedded.logs import MAX_LINE_BYTES, RotatedFile, Tail, Terminal, copy_lines


class TerminalText(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_takes_a_bounded_part_of_the_disk(tmp_path: Path) -> None:
    log = RotatedFile(tmp_path / "web.log", max_bytes=100, num_old=2)
    for number in range(100):
        log.write(f"line {number:03}\n".encode())

    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["web.log", "web.log.1", "web.log.2"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    assert (tmp_path / "web.log").read_text().endswith("line 099\n")


def test_a_log_goes_on_where_an_earlier_run_ended(tmp_path: Path) -> None:
    RotatedFile(tmp_path / "web.log").write(b"first\n")
    RotatedFile(tmp_path / "web.log").write(b"second\n")
    assert (tmp_path / "web.log").read_text() == "first\nsecond\n"


def test_a_line_without_end_is_taken_in_pieces() -> None:
    pieces: list[bytes] = []

    class Pieces:
        def write(self, line: bytes) -> None:
            pieces.append(line)

    copy_lines(io.BytesIO(b"x" * (MAX_LINE_BYTES + 1)), Pieces())
    assert [len(piece) for piece in pieces] == [MAX_LINE_BYTES, 1]


def test_the_tail_keeps_the_last_lines() -> None:
    tail = Tail(num_lines=2)
    for line in (b"a\n", b"b\n", b"c\n"):
        tail.write(line)
    assert tail.text() == "b\nc"


def test_names_are_coloured_on_a_terminal_alone() -> None:
    plain, coloured = io.StringIO(), TerminalText()
    Terminal(plain).named("web").write(b"ready\r\n")
    Terminal(coloured).named("web").write(b"ready\r\n")
    assert plain.getvalue() == f"{'web':<20} | ready\n"
    assert "\x1b[36m" in coloured.getvalue()


def test_a_reader_that_went_away_stops_nothing() -> None:
    out = io.StringIO()
    terminal = Terminal(out)
    out.close()
    terminal.say("nobody reads this")
