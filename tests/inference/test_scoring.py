from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from app.inference import scoring
from app.inference.embedding import embed
from app.inference.formatting import encode_pair, pad_pairs
from app.inference.loading import LoadedModel, load_model
from app.inference.scoring import class_logits, score, score_pairs

COMPLETIONS = ["yes", "no no no no", "", "it is so because it is"]


@pytest.fixture(scope="module")
def reward_model(reward_model_dir: Path) -> LoadedModel:
    return load_model(reward_model_dir, "reward_model")


@pytest.fixture(scope="module")
def two_class(two_class_dir: Path) -> LoadedModel:
    return load_model(two_class_dir, "reward_model")


def test_reward_is_the_one_output_and_the_positive_probability_its_sigmoid(
    reward_model: LoadedModel,
) -> None:
    found = score(reward_model.model, reward_model.tokenizer, "why", COMPLETIONS)
    for completion, one in zip(COMPLETIONS, found, strict=True):
        pair = encode_pair(reward_model.tokenizer, "why", completion, 512)
        with torch.no_grad():
            expected = reward_model.model(**pad_pairs([pair], 0)).logits.item()
        assert one.reward == pytest.approx(expected, abs=1e-5)
        assert (one.logits.negative, one.logits.positive) == (0.0, one.reward)
        sigmoid = torch.sigmoid(torch.tensor(expected)).item()
        assert one.probabilities.positive == pytest.approx(sigmoid, abs=1e-5)
        assert one.probabilities.negative == pytest.approx(1 - sigmoid, abs=1e-5)
        assert one.tokens == len(pair)


def test_two_class_reward_is_the_difference_of_its_logits(two_class: LoadedModel) -> None:
    model, tokenizer = two_class.model, two_class.tokenizer
    found = score(model, tokenizer, "why", COMPLETIONS, positive_class=1)
    turned = score(model, tokenizer, "why", COMPLETIONS, positive_class=0)
    for one, other in zip(found, turned, strict=True):
        assert one.reward == pytest.approx(one.logits.positive - one.logits.negative, abs=1e-6)
        assert one.reward == pytest.approx(-other.reward)
        assert one.probabilities.positive == pytest.approx(other.probabilities.negative)
        assert one.probabilities.positive > 0.5 or one.reward <= 0


def test_scores_do_not_depend_on_the_batches(
    reward_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [("why is it", "so " * length) for length in (9, 1, 4, 0, 12, 2)]
    together = score_pairs(reward_model.model, reward_model.tokenizer, pairs, 64)
    monkeypatch.setattr(scoring, "MAX_TOKENS_PER_BATCH", 1)
    alone = score_pairs(reward_model.model, reward_model.tokenizer, pairs, 64)
    assert [one.reward for one in together] == pytest.approx(
        [one.reward for one in alone], abs=1e-5
    )


def test_causal_reward_model_reads_the_last_token_in_any_batch(policy_dir: Path) -> None:
    policy = load_model(policy_dir, "policy")
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(policy_dir, num_labels=1)
    model = LlamaForSequenceClassification(config).eval()
    prompt = [{"role": "user", "content": "hi"}]
    together = score(model, policy.tokenizer, prompt, COMPLETIONS)
    for completion, one in zip(COMPLETIONS, together, strict=True):
        pair = encode_pair(policy.tokenizer, prompt, completion, 512)
        with torch.no_grad():
            states = model.model(torch.tensor([pair.input_ids])).last_hidden_state
            expected = model.score(states[0, -1]).item()
        assert one.reward == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("outputs", "positive_class"), [(3, 1), (2, None)])
def test_outputs_that_are_no_reward_are_refused(outputs: int, positive_class: int | None) -> None:
    with pytest.raises(ValueError, match="no reward"):
        class_logits(torch.zeros(1, outputs), positive_class)


def test_embeddings_have_length_one_and_do_not_depend_on_the_batch(encoder_dir: Path) -> None:
    encoder = load_model(encoder_dir, "encoder")
    texts = ["a b c", "a much longer text of many many words", "x"]
    together = embed(encoder.model, encoder.tokenizer, texts)
    torch.testing.assert_close(together.vectors.norm(dim=1), torch.ones(3))
    for index, text in enumerate(texts):
        alone = embed(encoder.model, encoder.tokenizer, [text])
        torch.testing.assert_close(alone.vectors[0], together.vectors[index])
        assert alone.tokens[0] == together.tokens[index] == len(encoder.tokenizer(text).input_ids)
