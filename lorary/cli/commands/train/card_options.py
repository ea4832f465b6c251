"""Refusing options that only some methods of training use."""

from jsonargparse import Namespace


def refuse_card_options(options: Namespace) -> None:
    """Refuse options for the cards of experts if something else is trained.

    Raises:
        ValueError: with the options.
    """
    given = [f"--{name}" for name in ("tags", "notes") if options[name]]
    if given:
        raise ValueError(
            f"{' and '.join(given)} are for the cards of --method experts, found --method {options.method}: "
            "leave them out, and use `lorary library tag` afterwards"
        )
