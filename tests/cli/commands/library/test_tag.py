import pytest

from lorary.library import Library


def test_tags_notes_and_role_are_changed_and_weights_kept(lorary, library):
    before = library.weight_hashes()
    words = ("--add", "verse", "art", "--remove", "art", "--notes", "Of <b>poems", "--role", "control")
    code, output, errors = lorary("library", "tag", library.url, "poetry", *words)
    assert code == 0, errors
    assert output.splitlines() == [
        "expert 'poetry' has the role control, the tags verse and new notes",
        f"next: lorary library show {library.url} poetry",
    ]
    found = Library.open(library.url)
    card = found["poetry"].card
    assert (card.tags, card.description, card.role) == (("verse",), "Of <b>poems", "control")
    assert card.tasks == ("rhymes", "odes") and card.scores == {"loss": 1.25}
    assert found.weight_hashes() == before and found.verify() == []
    assert "poetry" not in found.routed()
    page = (__import__("pathlib").Path(library.url) / "poetry" / "README.md").read_text()
    assert "- verse" in page.replace('"', "") and "control" in page and "<b>" not in page


def test_what_is_not_given_stays(lorary, library):
    code, output, _ = lorary("library", "tag", library.url, "card games", "--add", "fun")
    assert code == 0 and "expert 'card games' has the role expert and the tags fun\n" in output
    card = library["card games"].card
    assert card.tags == ("fun",) and card.description == "[bold]poker[/bold]" and card.role == "expert"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("poetry",), "there is nothing to change: add --add, --remove, --notes or --role"),
        (("poetry", "--remove", "no"), "expert 'poetry' has no tag 'no': its tags are art"),
        (("petry", "--add", "x"), "has no expert 'petry': did you mean 'poetry'"),
    ],
)
def test_what_cannot_be_changed_is_refused(lorary, library, words, message):
    code, _, errors = lorary("library", "tag", library.url, *words)
    assert code == 2 and message in " ".join(errors.split())


def test_an_adapter_without_a_card_is_refused(lorary, library, tmp_path):
    (tmp_path / "lib" / "sql" / "expert.json").unlink()
    code, _, errors = lorary("library", "tag", library.url, "sql", "--add", "x")
    assert code == 2
    assert "is a plain PEFT adapter without a card: store it again" in " ".join(errors.split())
