"""The prompts and guidelines of the demo project, short enough for a model of 135M parameters."""

DEMO_PROJECT_NAME = "Short, helpful answers"

DEMO_GUIDELINES = """\
## What we are after

Short, helpful answers in plain English. Imagine the person asked *you*, face to face, and has
little time.

## How to rank

1. **Does it do what was asked?** A completion that misses the point comes last, however well it
   is written.
2. **Is it true?** A wrong fact is worse than a missing one.
3. **Is it clear and brief?** Two or three sentences are usually enough. Long is not better.
4. **Does it end properly?** A text that breaks off in mid-sentence, or says the same thing again,
   goes below one that is finished.

## Ties and hard cases

- Two completions that are equally good, or equally bad, may **share a rank**.
- If all of them are bad, rank them anyway: the least bad one is first.
- Judge what is written, not what you think the model meant.
- Skip a task only if you cannot judge it, and say why.
"""

SINGLE_TURN_PROMPTS = (
    # Short explanations
    "Why do leaves change colour in autumn?",
    "Explain in two sentences what a thermometer does.",
    "What is the difference between weather and climate?",
    "Why do we see lightning before we hear thunder?",
    "Explain to a child why we need to sleep.",
    "How does soap get hands clean?",
    "Why does bread dough rise?",
    "What causes the tides?",
    "Explain what a library is for.",
    "Why do ships float although they are made of steel?",
    # Lists
    "List three things to take on a day hike.",
    "Name four vegetables that grow under the ground.",
    "Give three reasons to learn a second language.",
    "List the steps for making a cup of tea.",
    "Name three animals that are awake at night.",
    "Suggest four healthy snacks that need no cooking.",
    "List three ways to save water at home.",
    "Name two things that are easier to do in the morning.",
    # Rewriting and wording
    "Make this sentence more polite: Send me the report now.",
    "Rewrite in simple words: The meeting has been postponed indefinitely.",
    "Correct the grammar: She don't like going to the market on monday.",
    "Shorten this: Due to the fact that it was raining, we made the decision to stay at home.",
    "Give a friendlier way to say: You are late again.",
    "Turn this into a question: The shop opens at nine.",
    "Say the same in fewer words: At this moment in time I am not able to help you.",
    "Write a one-sentence summary: Bees carry pollen from flower to flower. Without them many "
    "plants would bear no fruit.",
    # Simple advice
    "I keep forgetting people's names. What can I do?",
    "How can I fall asleep faster?",
    "My plant has yellow leaves. What should I check first?",
    "I have a job interview tomorrow. Give me one piece of advice.",
    "How do I stop biting my nails?",
    "What should I do if I feel nervous before a speech?",
    "How can I make a new neighbour feel welcome?",
    "My shoes are wet. How do I dry them without ruining them?",
    "How do I start saving a little money each month?",
    # Tiny creative pieces
    "Write a two-line poem about rain.",
    "Describe the smell of fresh bread in one sentence.",
    "Invent a name for a small bookshop and say why it fits.",
    "Write the first sentence of a story about a lighthouse.",
    "Write a short birthday message for a friend who loves gardening.",
    "Describe a snowy morning without using the word white.",
    "Write a slogan for a bicycle repair shop.",
    # Simple facts
    "What is the capital of Portugal, and on which river does it lie?",
    "How many days does a leap year have, and why?",
    "Which planet is closest to the sun?",
    "What do bees make, and from what?",
    "What is ice made of?",
    "Which is larger, a lake or an ocean?",
)

MULTI_TURN_PROMPTS = (
    (
        ("user", "Can you recommend a pet for a small flat?"),
        ("assistant", "A hamster or a fish is a good choice for a small flat."),
        ("user", "Which of the two is less work?"),
    ),
    (
        ("user", "What is a good breakfast before a long walk?"),
        ("assistant", "Porridge with fruit gives you energy for hours."),
        ("user", "I do not like porridge. What else?"),
    ),
    (
        ("user", "Tell me a fact about the moon."),
        ("assistant", "The moon always shows us the same side."),
        ("user", "Why is that?"),
    ),
    (
        ("user", "Write a short note to thank my teacher."),
        ("assistant", "Dear teacher, thank you for all your help this year."),
        ("user", "Make it a little warmer, please."),
    ),
    (
        ("user", "How long should I boil an egg?"),
        ("assistant", "About six minutes for a soft egg."),
        ("user", "And for a hard one?"),
    ),
    (
        ("user", "I want to read more books."),
        ("assistant", "Try reading ten pages every evening before bed."),
        ("user", "I am always too tired in the evening."),
    ),
)


def demo_prompts() -> list[tuple[list[dict[str, str]], bool]]:
    """Every prompt as messages, with whether it is a chat of several turns."""
    single = [([{"role": "user", "content": text}], False) for text in SINGLE_TURN_PROMPTS]
    several = [
        ([{"role": role, "content": content} for role, content in turns], True)
        for turns in MULTI_TURN_PROMPTS
    ]
    return single + several
