"""The page of what a model writes while it is pretrained."""

from __future__ import annotations

from scratchlm.generation.epoch_texts import describe_texts


def test_the_page_of_texts_has_the_prompt_and_one_text_for_each_epoch() -> None:
    assert describe_texts("One", []) == "# What the model writes after each epoch\n\nPrompt: One\n"
    expected = "\n## Epoch 1\n\nOne fox\n\n## Epoch 2\n\nOne hen\n"
    assert describe_texts("One", ["One fox", "One hen"]) == describe_texts("One", []) + expected
