from app.inference.stopping import closing_token
from tests.training.tiny import byte_tokenizer

TURNS = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}"
    "{% if message.role == 'assistant' %}<turn>\n{% endif %}{% endfor %}"
)


def test_the_template_says_which_of_several_ends_closes_a_turn() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    turn = tokenizer.convert_tokens_to_ids("<turn>")
    tokenizer.chat_template = TURNS
    assert closing_token(tokenizer, (tokenizer.eos_token_id, turn)) == turn
    # A token that would not end the completion when it is drawn closes nothing.
    assert closing_token(tokenizer, (tokenizer.eos_token_id,)) == tokenizer.eos_token_id


def test_without_an_end_in_the_template_it_is_the_end_of_text() -> None:
    tokenizer = byte_tokenizer()
    assert closing_token(tokenizer, (tokenizer.eos_token_id,)) == tokenizer.eos_token_id
    tokenizer.chat_template = None
    assert closing_token(tokenizer, (tokenizer.eos_token_id,)) == tokenizer.eos_token_id
