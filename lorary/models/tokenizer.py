"""A base model's tokenizer, found when text is first needed."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from lorary.errors import BaseModelError, FormatError
from lorary.files import escape, quote, shorten
from lorary.models.base_folder import check_base_folder, is_panic


def find_tokenizer(model: PreTrainedModel) -> PreTrainedTokenizerBase:
    """Find the tokenizer of a model that was given without one, by the name the model was loaded by.

    Nothing is fetched and no code is run: only a local folder and what was downloaded earlier are looked at.

    Raises:
        BaseModelError: if there is none, saying how to give one.
    """
    name = model.config.name_or_path
    reason = "the model does not say what it was loaded from"
    try:
        if name:
            check_base_folder(Path(name))
            revision = getattr(model.config, "_commit_hash", None)
            return AutoTokenizer.from_pretrained(
                name, revision=revision, trust_remote_code=False, local_files_only=True
            )
    except (BaseModelError, FormatError) as error:
        reason = str(error)
    # What a folder holds makes transformers stumble in ways of its own.
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        reason = shorten(escape((str(error).strip() or type(error).__name__).splitlines()[0]), 300)
    where = f"this machine has none for {quote(name)}" if name else "none is known"
    raise BaseModelError(
        f"text needs the base model's tokenizer, which was not given, and {where} ({reason}): pass "
        "tokenizer=AutoTokenizer.from_pretrained(…) with the model; without it, token ids, logits and "
        "routers that read no text, such as 'arrow', can be used"
    )
