"""``lorary quickstart``: its options, its plan, its steps and the display of the outcome."""

__all__: list[str] = []
