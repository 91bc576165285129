"""What `scratchlm export` prints: commands that fit a terminal, with paths that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from scratchlm.export.commands import describe_commands
from scratchlm.export.folder import export_model


@pytest.fixture
def in_project(assistant: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(assistant.parents[1])
    return Path("models/assistant")


def test_an_assistant_is_asked_and_a_line_fits_a_terminal(in_project: Path) -> None:
    out = Path("exports/assistant")
    lines = list(describe_commands(export_model(in_project, out, "f16"), out))
    assert lines == [
        "exports/assistant holds assistant, with a model card in README.md:",
        "  assistant-F16.gguf  0.1 MB",
        "  model.safetensors  0.1 MB",
        "Run it with Ollama, or with llama.cpp's server at http://127.0.0.1:8080:",
        "  ollama create assistant -f exports/assistant/Modelfile",
        '  ollama run assistant "What is the opposite of hot?"',
        "  llama-server -m exports/assistant/assistant-F16.gguf",
        "Upload it, YOU being your account on the Hugging Face hub:",
        "  hf upload YOU/assistant exports/assistant",
        "No licence is named in it: --license names one, such as mit.",
    ]
    assert max(map(len, lines)) <= 80


def test_a_base_continues_and_a_place_with_blanks_is_quoted(in_project: Path) -> None:
    (in_project / "assistant.json").unlink()
    out = Path("my exports")
    lines = list(describe_commands(export_model(in_project, out, "f32", "mine", "mit"), out))
    assert '  ollama run mine "One morning"' in lines
    assert "  llama-server -m 'my exports/mine-F32.gguf'" in lines
    assert "  hf upload YOU/mine 'my exports'" in lines and not lines[-1].startswith("No licence")
