"""Balance the labelled messages and split them into data/sms/{train,validation,test}.csv."""

from pathlib import Path

from scratchlm.classifier.labels import write_labels
from scratchlm.classifier.messages import balance, number_labels, split, write_split_csv
from scratchlm.classifier.sources import collect_messages
from scratchlm.files.atomic import atomic_path
from scratchlm.params.schema import Params
from scratchlm.stage.metrics import write_metrics

INPUTS = Path("inputs/messages")
SMS = Path("data/sms")
METRICS = Path("metrics/prepare_sms.json")


def main(params: Params) -> None:
    sms = params.sms
    messages = collect_messages(sms.source, INPUTS)
    counts = messages["Label"].value_counts().sort_index()
    kept = balance(messages, params.seed) if sms.balance else messages
    train, validation, test = split(kept, sms.train_fraction, sms.validation_fraction, params.seed, sms.split)
    with atomic_path(SMS) as temporary:
        temporary.mkdir()
        write_labels(temporary, list(counts.index))
        for name, part in (("train", train), ("validation", validation), ("test", test)):
            write_split_csv(temporary / f"{name}.csv", number_labels(part, list(counts.index)))
    write_metrics(
        METRICS,
        {
            "rows": len(messages),
            "labels": counts.to_dict(),
            "kept": len(kept),
            "train": len(train),
            "validation": len(validation),
            "test": len(test),
        },
    )
    print(
        f"{len(messages):,} messages of {len(counts)} labels ({counts.min():,} to {counts.max():,} each), "
        f"{len(kept):,} kept, {len(test):,} of them for testing"
    )
