"""Reading, balancing and splitting SMS, on small files and on UCI's file."""

import csv
import zipfile

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.classifier import messages as sms
from scratchlm.classifier.sources import read_messages
from scratchlm.download.sources import SMS_SPAM
from scratchlm.errors import InputError, OutputError

BOTH = "ham\thello\nspam\twin\n"


def written(tmp_path, content, name="messages.tsv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path):
    with pytest.raises(InputError) as raised:
        read_messages(path)
    return str(raised.value)


# Reading


def test_tab_separated_lines_become_labels_and_texts_in_file_order(tmp_path):
    messages = read_messages(written(tmp_path, "ham\tHi, you; ok?\nspam\tWIN £5\nham\tnull\n"))
    assert list(messages.columns) == ["Label", "Text"]
    assert messages.values.tolist() == [["ham", "Hi, you; ok?"], ["spam", "WIN £5"], ["ham", "null"]]


def test_a_quote_that_opens_a_text_runs_over_line_ends_to_the_next_as_pandas_reads_it(tmp_path):
    path = written(tmp_path, 'ham\t"said" he\nham\t"one\nham\ttwo" three\nspam\tsay "win"\n')
    messages = read_messages(path)
    assert messages["Text"].tolist() == ["said he", "one\nham\ttwo three", 'say "win"']
    pandas = pd.read_csv(path, sep="\t", header=None, names=["Label", "Text"])
    assert messages.values.tolist() == pandas.values.tolist()


def test_csv_columns_are_found_by_name_in_any_case_and_order(tmp_path):
    path = written(tmp_path, '\ufeffid,TEXT,Label\r\n1,"a, ""b""\nc",ham\r\n\r\n2,win,spam\r\n', "own.CSV")
    assert read_messages(path).values.tolist() == [["ham", 'a, "b"\nc'], ["spam", "win"]]


def test_the_zip_of_uci_is_read_through_its_member(tmp_path):
    path = tmp_path / "sms.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "no messages")
        archive.writestr("SMSSpamCollection", BOTH)
    assert read_messages(path)["Text"].tolist() == ["hello", "win"]


def test_a_zip_without_the_member_is_refused(tmp_path):
    path = tmp_path / "sms.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "no messages")
    assert "SMSSpamCollection" in refusal(path)
    assert "not a usable zip file" in refusal(written(tmp_path, "<html>", "page.zip"))


def test_an_unknown_label_is_named_with_its_line(tmp_path):
    message = refusal(written(tmp_path, 'ham\t"a\nb"\nJunk\twin\n'))
    assert "line 3" in message and "'junk'" in message and "'ham' or 'spam'" in message


def test_a_line_without_a_tab_is_named(tmp_path):
    message = refusal(written(tmp_path, BOTH + "\nspam win\n"))
    assert "line 4" in message and "got 1 fields, wanted 2" in message


def test_a_csv_row_with_an_unquoted_comma_is_named(tmp_path):
    message = refusal(written(tmp_path, "label,text\nham,hi\nspam,win, now\n", "own.csv"))
    assert "line 3" in message and "got 3 fields, wanted 2" in message


def test_an_empty_text_is_named_with_its_line(tmp_path):
    assert "line 2: got an empty text" in refusal(written(tmp_path, "ham\thi\nspam\t  \n"))


def test_a_missing_column_is_refused_with_the_columns_there(tmp_path):
    message = refusal(written(tmp_path, "label;text\nham;hi\n", "own.csv"))
    assert "line 1" in message and "label;text" in message and "comma-separated" in message


@pytest.mark.parametrize(("name", "content"), [("a.tsv", ""), ("a.csv", "label,text\n"), ("a", "\n")])
def test_a_file_without_messages_is_refused(tmp_path, name, content):
    assert "no messages" in refusal(written(tmp_path, content, name))


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path):
    message = refusal(written(tmp_path, b"ham\thi\nspam\t\xa35 off\n"))
    assert "line 2" in message and "0xa3" in message and "UTF-8" in message


def test_one_class_alone_is_refused(tmp_path):
    assert "all 2 messages are ham" in refusal(written(tmp_path, "ham\ta\nham\tb\n"))


@pytest.mark.parametrize(("name", "header", "mark"), [("a.tsv", "", "\t"), ("a.csv", "label,text\n", ",")])
def test_a_quote_that_never_closes_is_named_with_its_line(tmp_path, name, header, mark):
    path = written(tmp_path, f'{header}ham{mark}hi\nspam{mark}win\nham{mark}"oh\nham{mark}no\n', name)
    message = refusal(path)
    assert f"line {4 if header else 3}" in message and "never closed" in message


def test_a_missing_file_is_named(tmp_path):
    assert "nothing.tsv is missing, wanted a table of labelled messages" in refusal(tmp_path / "nothing.tsv")


# Balancing and splitting


def messages_of(n_ham, n_spam):
    labels = ["ham"] * n_ham + ["spam"] * n_spam
    return pd.DataFrame({"Label": labels, "Text": [f"{label} {i}" for i, label in enumerate(labels)]}).sample(
        frac=1, random_state=0
    )


@pytest.mark.parametrize(("n_ham", "n_spam"), [(50, 8), (8, 50), (8, 8)])
def test_the_larger_class_is_cut_to_the_size_of_the_smaller(n_ham, n_spam):
    balanced = sms.balance(messages_of(n_ham, n_spam), seed=1)
    assert balanced["Label"].tolist() == [0] * 8 + [1] * 8
    assert balanced["Label"].dtype == "int64"
    assert balanced["Text"].str.startswith("spam").tolist() == [False] * 8 + [True] * 8
    assert balanced["Text"].is_unique


def test_the_undersampled_ham_is_what_the_book_draws():
    messages = messages_of(50, 8)
    ham, spam = (messages[messages["Label"] == label] for label in ("ham", "spam"))
    expected = [*ham.sample(8, random_state=123)["Text"], *spam["Text"]]
    assert sms.balance(messages, seed=123)["Text"].tolist() == expected
    assert sms.balance(messages, seed=124)["Text"].tolist() != expected


def test_balancing_leaves_its_input_alone():
    messages = messages_of(5, 5)
    before = messages.copy()
    sms.balance(messages, seed=1)
    pd.testing.assert_frame_equal(messages, before)


def test_the_split_keeps_every_message_once_and_rounds_down():
    balanced = sms.balance(messages_of(30, 9), seed=1)
    parts = sms.split(balanced, 0.7, 0.1, seed=2)
    assert [len(part) for part in parts] == [12, 1, 5]
    assert sorted(pd.concat(parts)["Text"]) == sorted(balanced["Text"])
    assert pd.concat(parts)["Text"].tolist() != balanced["Text"].tolist()


def test_a_split_with_an_empty_part_is_refused_with_its_sizes():
    with pytest.raises(InputError, match=r"4 balanced messages .* give 2, 0 and 2 "):
        sms.split(sms.balance(messages_of(2, 2), seed=1), 0.7, 0.1, seed=1)


def test_training_messages_of_one_class_are_refused():
    balanced = sms.balance(messages_of(50, 50), seed=1)
    with pytest.raises(InputError, match="the 1 training messages are all of one class"):
        sms.split(balanced, 0.015, 0.5, seed=1)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 0.98), st.floats(0.01, 0.98), st.integers(0, 2**32 - 1))
def test_any_split_is_disjoint_complete_and_drawn_by_its_seed(n_ham, n_spam, train_fraction, validation_fraction, seed):
    balanced = sms.balance(messages_of(n_ham, n_spam), seed)
    assert balanced["Label"].value_counts().to_dict() == {0: min(n_ham, n_spam), 1: min(n_ham, n_spam)}
    assert set(balanced["Text"]) <= set(messages_of(n_ham, n_spam)["Text"])
    if train_fraction + validation_fraction >= 1:
        return  # refused in params.yaml
    try:
        parts = sms.split(balanced, train_fraction, validation_fraction, seed)
    except InputError:
        return  # a part would be empty, or of one class
    texts = [text for part in parts for text in part["Text"]]
    assert sorted(texts) == sorted(balanced["Text"]) and all(len(part) for part in parts)
    assert len(parts[0]) == int(len(balanced) * train_fraction)
    order = balanced.sample(frac=1, random_state=seed)["Text"].tolist()  # as the book shuffles
    assert texts == order
    again = sms.split(balanced, train_fraction, validation_fraction, seed)
    assert all(one.equals(other) for one, other in zip(parts, again, strict=True))


MESSAGE_PIECES = st.sampled_from(
    ["ham", "spam", "label", "text", ",", "\t", "\n", "\r", '"', '""', " ", "\0", "é", "\ufeff"]
)


@given(
    content=st.binary(max_size=40) | st.lists(MESSAGE_PIECES, max_size=25).map(lambda pieces: "".join(pieces).encode()),
    name=st.sampled_from(["any.csv", "any.tsv", "any.zip"]),
)
def test_any_file_is_read_as_messages_or_refused_by_name(tmp_path_factory, content, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    try:
        found = read_messages(path)
    except InputError as error:
        assert str(error).startswith(str(path))
    else:
        assert set(found["Label"]) == {"ham", "spam"} and found["Text"].str.strip().all()


def test_labels_may_be_written_in_any_case(tmp_path):
    assert read_messages(written(tmp_path, "Ham\thi\nSPAM \twin\n"))["Label"].tolist() == ["ham", "spam"]


# Split files


@given(st.lists(st.tuples(st.integers(0, 1), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))))
def test_any_text_comes_back_from_a_split_file(tmp_path_factory, rows):
    rows = [*rows, (1, '=cmd("a"),\t\r\n\n\' end '), (0, "NA"), (0, "1e5")]
    path = tmp_path_factory.getbasetemp() / "any.csv"
    frame = pd.DataFrame(rows, columns=["Label", "Text"])
    sms.write_split_csv(path, frame)
    assert sms.read_split_csv(path).values.tolist() == frame.values.tolist()
    assert sms.read_split_csv(path)["Label"].dtype == "int64"


def test_a_split_file_is_csv_as_others_read_it(tmp_path):
    sms.write_split_csv(tmp_path / "a.csv", pd.DataFrame({"Label": [1, 0], "Text": ['say "yes", now', "a\nb"]}))
    assert (tmp_path / "a.csv").read_text() == '"Label","Text"\n1,"say ""yes"", now"\n0,"a\nb"\n'
    assert pd.read_csv(tmp_path / "a.csv")["Text"].tolist() == ['say "yes", now', "a\nb"]


def test_a_failed_write_leaves_the_old_split_file(tmp_path):
    path = tmp_path / "train.csv"
    sms.write_split_csv(path, pd.DataFrame({"Label": [1], "Text": ["old"]}))
    with pytest.raises(UnicodeEncodeError):
        sms.write_split_csv(path, pd.DataFrame({"Label": [1, 0], "Text": ["new", "\ud800"]}))
    assert path.read_text() == '"Label","Text"\n1,"old"\n'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "columns are []"),
        ("label,text\n1,a\n", "columns are ['label', 'text']"),
        ("Label,Text\n1,a\nham,b\n", "row 2: got ['ham', 'b']"),
        ("Label,Text\n2,a\n", "row 1"),
        ("Label,Text\n1,a,b\n", "row 1"),
    ],
)
def test_other_columns_and_labels_in_a_split_file_are_refused(tmp_path, content, said):
    with pytest.raises(OutputError) as raised:
        sms.read_split_csv(written(tmp_path, content, "train.csv"))
    assert said in str(raised.value)


# UCI's file


@pytest.fixture(scope="module")
def uci_path(mirror):
    return mirror / SMS_SPAM.name


@pytest.mark.mirror
def test_uci_s_file_gives_the_figures_of_the_book(uci_path):
    messages = read_messages(uci_path)
    assert messages["Label"].value_counts().to_dict() == {"ham": 4825, "spam": 747}
    balanced = sms.balance(messages, seed=123)
    assert len(balanced) == 1494
    assert [len(part) for part in sms.split(balanced, 0.7, 0.1, seed=123)] == [1045, 149, 300]


@pytest.mark.mirror
def test_uci_s_file_is_read_as_the_book_reads_it_with_pandas(uci_path):
    expected = pd.read_csv(uci_path, sep="\t", header=None, names=["Label", "Text"])
    pd.testing.assert_frame_equal(read_messages(uci_path), expected)
    apart = pd.read_csv(uci_path, sep="\t", header=None, quoting=csv.QUOTE_NONE)
    assert len(apart) == 5574 and (apart[0] == "ham").sum() == 4827


@pytest.mark.mirror
def test_the_longest_messages_have_the_book_s_lengths(uci_path):
    from scratchlm.tokenizer.folder import read_tokenizer

    tokenizer = read_tokenizer(uci_path.parent)
    parts = sms.split(sms.balance(read_messages(uci_path), seed=123), 0.7, 0.1, seed=123)
    assert [max(len(tokenizer.encode(text)) for text in part["Text"]) for part in parts] == [120, 71, 92]
