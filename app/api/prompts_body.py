"""What an import of prompts takes, with an example of each kind of file."""

from typing import Any

PROMPTS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A JSON list; or one prompt a line (JSONL), a row (CSV, Parquet), or a line "
        "of plain text. The prompt is in `messages`, `text`, `prompt`, `instruction` (with "
        "`input`) or `turns`; `external_id` or `id` and `tags` (a list, or texts with commas "
        "between them) are kept, every other column becomes metadata.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "prompts": {
                            "type": "array",
                            "description": "The prompts, each as on a line of JSONL.",
                            "items": {"type": "object"},
                        }
                    },
                    "required": ["prompts"],
                },
                "example": {
                    "prompts": [
                        {"text": "Why is the sky blue?", "external_id": "sky"},
                        {
                            "messages": [
                                {"role": "system", "content": "Be brief."},
                                {"role": "user", "content": "Why is the sky blue?"},
                            ],
                            "tags": ["short"],
                            "metadata": {"topic": "physics"},
                        },
                    ]
                },
            },
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"text": "Why is the sky blue?"}\n{"text": "What is rain?"}\n',
            },
            "text/csv": {
                "schema": {"type": "string"},
                "example": "text,topic\nWhy is the sky blue?,physics\n",
            },
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
            "text/plain": {
                "schema": {"type": "string"},
                "example": "Why is the sky blue?\nWhat is rain?\n",
            },
        },
    }
}
