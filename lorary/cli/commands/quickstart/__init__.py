"""What ``lorary quickstart`` does, step by step: its plan, its work, and how it shows what it found."""

__all__: list[str] = []
