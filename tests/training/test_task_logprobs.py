from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from app.training.policy import load_policy
from app.training.task_logprobs import (
    EncodedTask,
    can_share_prompts,
    completion_logprobs,
    task_groups,
)

from .tiny import make_policy

PAD = 257


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return load_policy(make_policy(tmp_path_factory.mktemp("policy")), None, 0)[1]


def some_tasks(*shapes: tuple[int, list[int]]) -> list[EncodedTask]:
    """Tasks with prompts and completions of these lengths."""
    generator = torch.Generator().manual_seed(1)

    def ids(count: int) -> list[int]:
        return torch.randint(250, (count,), generator=generator).tolist()

    return [EncodedTask(ids(prompt), [ids(n) for n in lengths]) for prompt, lengths in shapes]


TASKS = some_tasks((9, [4, 1, 6]), (3, [2, 2]), (1, [1, 5, 3, 2]))


def test_every_token_has_what_the_full_logits_give_it(policy):
    found = completion_logprobs(policy.model, TASKS, PAD)
    for task, logprobs in zip(TASKS, found, strict=True):
        for completion, ours in zip(task.completions, logprobs, strict=True):
            ids = torch.tensor([[*task.prompt, *completion]])
            with torch.no_grad():
                log_p = policy.model(input_ids=ids).logits[0].log_softmax(dim=-1)
            places = range(len(task.prompt) - 1, ids.shape[1] - 1)
            expected = torch.stack(
                [log_p[place, token] for place, token in zip(places, completion, strict=True)]
            )
            torch.testing.assert_close(ours.detach(), expected, atol=1e-5, rtol=1e-5)


def test_a_shared_prompt_gives_the_same_logprobs_and_gradients(policy):
    gradients = []
    values = []
    # A task in plain rows beside shared ones, as where a prompt is too short to pay.
    for shared in ([False] * 3, [True] * 3, [True, False, True]):
        tasks = [replace(task, shared=one) for task, one in zip(TASKS, shared, strict=True)]
        policy.zero_grad()
        found = torch.cat(
            [part for task in completion_logprobs(policy.model, tasks, PAD) for part in task]
        )
        torch.autograd.backward((found * torch.linspace(-1, 1, len(found))).sum())
        values.append(found.detach())
        gradients.append(torch.cat([w.grad.flatten() for w in policy.model.parameters()]))
    for other in (1, 2):
        torch.testing.assert_close(values[other], values[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradients[other], gradients[0], atol=1e-5, rtol=1e-4)


def test_sharing_reads_the_prompt_once():
    task = some_tasks((60, [20, 20, 20, 20]))[0]
    assert task.tokens == 4 * 60 + 80
    assert task.sharing(64).shared
    assert task.sharing(64).tokens == 60 + 80
    # Without much of a prompt the longer row costs more attention than it saves.
    assert not some_tasks((1, [500, 500, 500]))[0].sharing(64).shared


def test_models_that_would_give_something_else_are_refused(policy):
    assert can_share_prompts(policy.model)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    window = MistralConfig(
        vocab_size=64, num_key_value_heads=2, intermediate_size=32, sliding_window=4, **small
    )
    assert not can_share_prompts(MistralForCausalLM(window).eval())
    learned = GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=1, n_head=2)
    assert can_share_prompts(GPT2LMHeadModel(learned).eval()), "its positions may be given"


def test_groups_hold_whole_tasks_below_the_budget():
    tasks = some_tasks((5, [5, 5]), (30, [10, 10]), (2, [3]), (200, [50, 50]))
    groups = list(task_groups(tasks, 100))
    assert sorted(index for group in groups for index in group) == [0, 1, 2, 3]
    assert groups[0] == [3], "larger than the budget: on its own"
    for group in groups[1:]:
        assert sum(len(tasks[index].rows) for index in group) * tasks[group[0]].width <= 100
