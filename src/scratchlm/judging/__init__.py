"""Judging: scores for answers, what the scores say together, and comparisons of scores.

An answer, or a pair of them, passes four functions from its entry to its row: `judge_items` (verdicts) makes its
record, and at the end its row; `Rounds.ask_all` (verdicts) hands it to a thread, again if the server failed;
`LlmJudge.judge` (judges) asks the cache or the server and reads what it says; a backend's `ask` makes the request and
the completion. They call helpers that decide nothing about its way: `Backend.send` for HTTP, `JudgePrompt` for the
words, `Verdict.row` for the layout.

Imports `assistant`, `download.deadline`, `stage`, `params`, `files` and `errors`; never torch.
"""
