"""Judging: scores for answers, what the scores say together, and comparisons of scores.

An answer passes four functions from its entry to its row: `judge_items` (verdicts) makes its record, and has it judged
in rounds; `LlmJudge.judge` (judges) asks the cache or the server and reads what it says; a backend's `ask` makes the
request and the completion; `Verdict.row` (verdicts) lays the row out.

Imports `assistant`, `download.deadline`, `stage`, `params`, `files` and `errors`; never torch.
"""
