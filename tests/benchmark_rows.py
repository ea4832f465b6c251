"""A small folder in the shape of the benchmarks' files."""

import json
import lzma

LETTERS = ["A", "B", "C", "D"]
SUBJECTS = ("anatomy", "astronomy")


def make_rows():
    """Rows of every benchmark, by file."""
    words = ["river", "stone", "cloud", "glass", "tiger", "paper"]

    def choose(number, *, label="ABCD"):
        text = [f"{words[(number + place) % 6]} {place}" for place in range(4)]
        return {"text": text, "label": list(label)}

    def ask(number):
        return f"What is number {number} of the {words[number % 6]}s?"

    count = range(4)
    arc = [
        {"id": f"q{n}", "question": ask(n), "choices": choose(n), "answerKey": LETTERS[n % 4]} for n in count
    ]
    blanks = [
        {
            "sentence": f"The {words[n]} hit the {words[n + 1]} since the _ was big.",
            "option1": words[n],
            "option2": words[n + 1],
            "answer": str(n % 2 + 1),
        }
        for n in count
    ]
    mmlu = [
        {"question": ask(n), "subject": subject, "choices": choose(n)["text"], "answer": n % 4}
        for subject in SUBJECTS
        for n in range(5)
    ]
    code = [{"text": f"Write f{n}.", "code": f"def f{n}(): return {n}", "task_id": n} for n in range(1, 6)]
    for row in code:
        row |= {"test_setup_code": "", "challenge_test_list": []}
        row["test_list"] = [f"assert f{row['task_id']}() == {row['task_id']}"] * 3
    return {
        "arc/ARC-Easy.train": arc[::-1],
        "arc/ARC-Easy.validation": arc,
        "arc/ARC-Challenge.validation": arc,
        "openbookqa/validation": [
            {
                "id": r["id"],
                "question_stem": r["question"],
                "choices": r["choices"],
                "answerKey": r["answerKey"],
            }
            for r in arc
        ],
        "piqa/validation": [
            {"goal": ask(n), "sol1": "use a stone ", "sol2": "use the river", "label": n % 2} for n in count
        ],
        "hellaswag/validation": [
            {
                "ind": n,
                "activity_label": "Running",
                "ctx_a": f"A {words[n]} moves. [header] It",
                "ctx_b": "the tiger",
                "ctx": "",
                "endings": choose(n)["text"],
                "label": str(n % 4),
            }
            for n in count
        ],
        "winogrande/train": blanks[::-1],
        "winogrande/validation": blanks,
        "boolq/validation": [
            {"question": "is it so", "passage": f"Passage {n}. " * 3, "label": n % 2, "idx": n} for n in count
        ],
        "commonsense_qa/validation": [
            {
                "id": str(n),
                "question": ask(n),
                "question_concept": "x",
                "choices": {"label": list("ABCDE"), "text": [*choose(n)["text"], "none"]},
                "answerKey": "ABCDE"[n],
            }
            for n in count
        ],
        "social_i_qa/validation": [
            {
                "context": f"Kim saw a {words[n]}.",
                "question": "Why?",
                "answerA": "by chance",
                "answerB": "to help",
                "answerC": words[n],
                "label": str(n % 3 + 1),
            }
            for n in count
        ],
        "mmlu/dev": mmlu,
        "mmlu/validation": mmlu[::-1],
        "bbh/test": [
            {"task": task, "idx": n, "input": f"{n} is odd", "target": str(bool(n % 2))}
            for task in ("boolean_expressions", "navigate")
            for n in count
        ],
        "gsm8k/train": [{"question": ask(n), "answer": f"It is {n}.\n#### {n}"} for n in range(6)],
        "gsm8k/test": [{"question": ask(n), "answer": f"So {n}.\n#### {n}"} for n in count],
        "humaneval/test": [
            {
                "task_id": f"HumanEval/{n}",
                "prompt": f'def f{n}(x):\n    """Return x."""\n',
                "entry_point": f"f{n}",
                "canonical_solution": "    return x\n",
                "test": f"def check(f):\n    assert f({n}) == {n}\n",
            }
            for n in count
        ],
        "mbpp/prompt": code,
        "mbpp/test": code[3:],
        "wikitext2/valid": [{"text": f" = {word} = \n A {word} is seen . " * 3} for word in words[:3]],
    }


def write_benchmarks(folder, **changed):
    """Write the folder, with rows replaced by file; bytes are written as they are, None leaves a file out."""
    for name, rows in {**make_rows(), **changed}.items():
        if rows is None:
            continue
        path = folder / f"{name}.jsonl.xz"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(lzma.compress(text, preset=0))
    return folder
