import io

from lorary.cli.console import open_console, print_table


class Terminal(io.StringIO):
    """A terminal that keeps what it shows."""

    def isatty(self):
        return True


def test_a_table_has_no_blanks_at_line_ends_in_a_pipe(capsys):
    """Guards columns padded with blanks, which comparisons of outputs and copies into documents keep."""
    print_table(("name", "value"), [("a", "1"), ("longer", ""), ("b", "a long value")])
    output = capsys.readouterr().out
    assert output.splitlines() == ["name    value", "a       1", "longer", "b       a long value"]


def test_blanks_within_a_line_and_on_terminals_stay(capsys, monkeypatch):
    open_console().print("a  b ", end="")
    assert capsys.readouterr().out == "a  b"
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    print_table(("name", "value"), [("longer", ""), ("b", "a long value")])
    assert any(line.endswith("  ") for line in screen.getvalue().splitlines())
