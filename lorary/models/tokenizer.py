"""Finding a base model's tokenizer when text is first needed."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from lorary.errors import BaseModelError, FormatError
from lorary.files import escape, quote
from lorary.models.base_folder import check_base_folder, is_panic


def find_tokenizer(model: PreTrainedModel) -> PreTrainedTokenizerBase:
    """Find the tokenizer of a model that was passed without one, by the name that the model was loaded by.

    Only local folders and earlier downloads are searched. Nothing is downloaded and no code is run.

    Raises:
        BaseModelError: if none is found; the message explains how to pass one.
    """
    name = model.config.name_or_path
    reason = "the model has no name_or_path"
    try:
        if name:
            check_base_folder(Path(name))
            revision = getattr(model.config, "_commit_hash", None)
            return AutoTokenizer.from_pretrained(
                name, revision=revision, trust_remote_code=False, local_files_only=True
            )
    except (BaseModelError, FormatError) as error:
        reason = str(error)
    # On damaged or unusual files, transformers raises errors of many types.
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        reason = escape((str(error).strip() or type(error).__name__).splitlines()[0], longest=300)
    where = f"none is on this machine for {quote(name)}" if name else "none can be found"
    raise BaseModelError(
        f"text needs the base model's tokenizer: none was passed, and {where} ({reason}). Pass "
        "tokenizer=AutoTokenizer.from_pretrained(…) with the model; without it, token ids, logits and "
        "routers that read no text, such as 'arrow', can be used"
    )
