"""What tests of the server ask, and of which models."""

from fastapi.testclient import TestClient

from app.inference.catalogue import ModelFiles

HI = [{"role": "user", "content": "hi"}]


class Shelf:
    """A catalogue that is a dictionary."""

    def __init__(self, *models: ModelFiles) -> None:
        self.models = {files.id: files for files in models}

    def find(self, model_id: str) -> ModelFiles | None:
        return self.models.get(model_id)

    def list(self) -> list[ModelFiles]:
        return list(self.models.values())


def chat(client: TestClient, **changes: object) -> dict[str, object]:
    body = {"model": "policy", "messages": HI, "max_tokens": 8, "seed": 1, **changes}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def texts(answer: dict[str, object]) -> list[str]:
    return [choice["message"]["content"] for choice in answer["choices"]]
