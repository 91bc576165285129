"""Balance the labelled messages and split them into data/sms/{train,validation,test}.csv."""

from pathlib import Path

from scratchlm.classifier.messages import balance, split, write_split_csv
from scratchlm.classifier.sources import collect_messages
from scratchlm.files.atomic import atomic_path
from scratchlm.params.schema import Params
from scratchlm.stage.metrics import write_metrics

INPUTS = Path("inputs/messages")
SMS = Path("data/sms")
METRICS = Path("metrics/prepare_sms.json")


def main(params: Params) -> None:
    messages = collect_messages(params.sms.source, INPUTS)
    balanced = balance(messages, params.seed)
    train, validation, test = split(balanced, params.sms.train_fraction, params.sms.validation_fraction, params.seed)
    with atomic_path(SMS) as temporary:
        temporary.mkdir()
        for name, part in (("train", train), ("validation", validation), ("test", test)):
            write_split_csv(temporary / f"{name}.csv", part)
    write_metrics(
        METRICS,
        {
            "rows": len(messages),
            "ham": int((messages["Label"] == "ham").sum()),
            "spam": int((messages["Label"] == "spam").sum()),
            "balanced": len(balanced),
            "train": len(train),
            "validation": len(validation),
            "test": len(test),
        },
    )
    print(f"{len(messages):,} messages, {len(balanced):,} balanced, {len(test)} of them for testing")
