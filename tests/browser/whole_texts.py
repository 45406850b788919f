"""Texts that pages find hard: long, unbroken, right to left, with code, tables and formulas."""

UNBROKEN = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverleihungsurkunde" * 2
GUIDELINES = f"""# What counts

Prefer what is **true**, then what is *short*. See [the handbook](https://example.org/handbook).

1. Wrong facts lose.
2. A table beats a list:

| rule | weight |
|---|---:|
| true | 3 |
| short | 1 |

> When both are right, ask who is helped.

```text
{UNBROKEN}
```
"""
RIGHT_TO_LEFT = "למה השמיים כחולים בצהריים ואדומים בערב? נא להסביר בשני משפטים קצרים."
TEXTS = (
    "The sky scatters **blue** light more than red. " * 3,
    "# Because\n\n- short waves scatter more\n- the way of light is longer at dusk\n\n"
    "| colour | nm |\n|---|---|\n| blue | 450 |\n| red | 700 |",
    "```python\ndef scatter(wavelength: float) -> float:\n    return 1 / wavelength**4  "
    "# Rayleigh, and a comment that is much longer than a phone is wide\n```",
    "Intensity is $I \\propto \\lambda^{-4}$:\n\n$$\\frac{I_{450}}{I_{700}} = "
    "\\left(\\frac{700}{450}\\right)^4 \\approx 5.9$$",
    "האור הכחול מתפזר יותר מן האדום, ולכן השמיים כחולים.",
    f"See https://example.org/{'a-very-long-path/' * 12} or {UNBROKEN}.",
    "A long answer. " * 260,
    "   ",
)
CONVERSATION = [
    {"role": "system", "content": "You are a patient librarian."},
    {"role": "user", "content": "Which book explains tides?"},
    {"role": "assistant", "content": "Several do. " * 60},
    {"role": "user", "content": "Name **one**, and say why."},
]
