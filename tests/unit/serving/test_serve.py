"""`scratchlm serve` as a user meets it: a real process, its output, its end."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from scratchlm_server import SOURCE, ScratchlmServer
from tiny_project import make_project

from scratchlm.cli import cli
from scratchlm.errors import InputError
from scratchlm.serving.server import listen

CHAT: dict[str, Any] = {"model": "assistant", "messages": [{"role": "user", "content": "the cat"}]}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    make_project(root)
    return root


def client_of(server: ScratchlmServer) -> OpenAI:
    return OpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=30)


def test_the_kernel_keeps_no_event_back(tmp_path: Path) -> None:
    # asyncio switches Nagle's algorithm off only where a socket names TCP, and a connection has it from the listener.
    with listen(0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_lets_running_answers_end(project: Path, tmp_path: Path, number: int) -> None:
    with ScratchlmServer(project, tmp_path / "log") as server, client_of(server) as client:
        assert "models:  pretrained, base, assistant, preferred" in server.printed
        assert f"OPENAI_BASE_URL={server.url}" in server.printed
        whole = client.chat.completions.create(**CHAT)
        events = client.chat.completions.create(**CHAT, stream=True)
        text = next(events).choices[0].delta.content or ""
        server.stop(number)
        text += "".join(event.choices[0].delta.content or "" for event in events)
        assert text == whole.choices[0].message.content
        assert server.wait() == 0
        assert (tmp_path / "log").read_text() == ""
        with pytest.raises(openai.APIConnectionError):
            client.models.list()


@pytest.mark.slow
def test_a_second_signal_ends_at_once(project: Path, tmp_path: Path) -> None:
    with ScratchlmServer(project, tmp_path / "log") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as slow:
            slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            slow.sendall(b"Content-Length: 99\r\n\r\n{")  # and no more: a request that never ends
            time.sleep(0.5)
            server.stop()
            time.sleep(0.5)
            assert server.process.poll() is None
            server.stop()
            assert server.wait(timeout_s=5) == 0
        assert (tmp_path / "log").read_text() == ""


def test_what_hinders_the_start_is_one_clear_line(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    with listen(0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            InputError, match=f"cannot listen on port {port} .another program has it.: give another one"
        ):
            cli(["serve", "--port", str(port)], standalone_mode=False)
    shutil.copy(project / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="models/ holds no language model yet: run `make repro` first"):
        cli(["serve", "--port", "0"], standalone_mode=False)
    monkeypatch.setenv("SCRATCHLM_DEVICE", "toaster")
    monkeypatch.chdir(project)
    with pytest.raises(InputError, match="SCRATCHLM_DEVICE"):
        cli(["serve", "--port", "0"], standalone_mode=False)
    assert capsys.readouterr() == ("", "")


def test_the_docs_show_a_client_that_works(address: str, client: OpenAI, capsys: pytest.CaptureFixture[str]) -> None:
    page = (SOURCE.parent / "docs" / "use.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(from openai .*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:8000" in program
    exec(program.replace("http://127.0.0.1:8000", address), {})
    messages = [{"role": "user", "content": "Name a colour."}]
    answer = client.chat.completions.create(model="assistant", messages=messages)  # type: ignore[call-overload]
    assert capsys.readouterr().out == answer.choices[0].message.content
