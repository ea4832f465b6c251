"""One example as tokens."""

from lorary.data.tokens import TokenizedExample, tokenize_examples


def tokenize_one(tokenizer, template, task, example, **options) -> TokenizedExample:
    """Tokenise an example of one piece; the options are those of ``tokenize_examples``."""
    (found,) = tokenize_examples(tokenizer, template, task, [example], **options).examples
    return found
