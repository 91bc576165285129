"""Reading, balancing and splitting messages, on small files and on UCI's file."""

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

BOTH = "ham\thello\nham\tbye\nham\tlunch?\nspam\twin\nspam\tcash\nspam\tprize\n"


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
    messages = read_messages(written(tmp_path, "ham\tHi, you; ok?\nspam\tWIN £5\nham\tnull\n" + BOTH))
    assert list(messages.columns) == ["Label", "Text"]
    assert messages.values.tolist()[:3] == [["ham", "Hi, you; ok?"], ["spam", "WIN £5"], ["ham", "null"]]


def test_a_quote_that_opens_a_text_runs_over_line_ends_to_the_next_as_pandas_reads_it(tmp_path):
    path = written(tmp_path, 'ham\t"said" he\nham\t"one\nham\ttwo" three\nspam\tsay "win"\n' + BOTH)
    messages = read_messages(path)
    assert messages["Text"].tolist()[:3] == ["said he", "one\nham\ttwo three", 'say "win"']
    pandas = pd.read_csv(path, sep="\t", header=None, names=["Label", "Text"])
    assert messages.values.tolist() == pandas.values.tolist()


def test_csv_columns_are_found_by_name_in_any_case_and_order(tmp_path):
    more = "".join(f"{n},{label} {n},{label}\r\n" for n in (3, 4) for label in ("ham", "spam"))
    path = written(tmp_path, '\ufeffid,TEXT,Label\r\n1,"a, ""b""\nc",ham\r\n\r\n2,win,spam\r\n' + more, "own.CSV")
    assert read_messages(path).values.tolist()[:2] == [["ham", 'a, "b"\nc'], ["spam", "win"]]


def test_the_zip_of_uci_is_read_through_its_member(tmp_path):
    path = tmp_path / "sms.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "no messages")
        archive.writestr("SMSSpamCollection", BOTH)
    assert read_messages(path)["Text"].tolist() == ["hello", "bye", "lunch?", "win", "cash", "prize"]


def test_a_zip_without_the_member_is_refused(tmp_path):
    path = tmp_path / "sms.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "no messages")
    assert "SMSSpamCollection" in refusal(path)
    assert "not a usable zip file" in refusal(written(tmp_path, "<html>", "page.zip"))


def test_a_label_that_is_hardly_used_is_named_with_its_line_as_it_may_be_a_slip(tmp_path):
    message = refusal(written(tmp_path, 'ham\t"a\nb"\nSpma\twin now\n' + BOTH + "spma\tmore\n"))
    assert "line 3: got label 'spma' for 2 of 9 messages, wanted at least 3 of each label" in message
    assert "correct it to 'spam', leave it out, or add messages" in message
    assert "correct it, leave it out" in refusal(written(tmp_path, "news\tthe king\n" + BOTH))


def test_a_third_label_is_as_good_as_two(tmp_path):
    messages = read_messages(written(tmp_path, BOTH + "Big News\ta\n big news\tb\nbig news\tc\n"))
    assert messages["Label"].value_counts().to_dict() == {"ham": 3, "spam": 3, "big news": 3}


def csv_with_labels(count):
    rows = "".join(f"{label},{label}-{text}\n" for label in range(count) for text in range(3))
    return f"label,text\n{rows}"


def test_a_hundred_labels_are_read_and_one_more_is_refused(tmp_path):
    assert read_messages(written(tmp_path, csv_with_labels(100), "a.csv"))["Label"].nunique() == 100
    message = refusal(written(tmp_path, csv_with_labels(101), "a.csv"))
    assert "a.csv: got 101 labels, wanted 2 to 100" in message


@pytest.mark.parametrize(
    ("label", "shown"),
    [("", "''"), ("a\tb", r"'a\tb'"), ("a\nb", r"'a\nb'"), ("x" * 51, "'xxx"), ("a\u202eb", r"'a\u202eb'")],
)
def test_a_label_that_cannot_be_printed_is_named_with_its_line(tmp_path, label, shown):
    message = refusal(written(tmp_path, f'label,text\nham,hi\n"{label}",win\n', "own.csv"))
    assert f"line 3: got label {shown}" in message and "wanted a name of 1 to 50 printable characters" in message


def test_a_label_may_have_fifty_characters(tmp_path):
    name = "ü, " + "x" * 47
    rows = "".join(f'"{name}",{n}\n' for n in range(3))
    path = written(tmp_path, f"label,text\n{rows}ham,a\nham,b\nham,c\n", "own.csv")
    assert set(read_messages(path)["Label"]) == {name, "ham"}


def test_a_line_without_a_tab_is_named(tmp_path):
    message = refusal(written(tmp_path, BOTH + "\nspam win\n"))
    assert "line 8" in message and "got 1 fields, wanted 2" in message


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
    message = refusal(written(tmp_path, "ham\ta\nham\tb\n"))
    assert "all 2 messages are ham, wanted at least two labels: add messages of another" in message


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
    assert balanced["Label"].tolist() == ["ham"] * 8 + ["spam"] * 8
    assert balanced["Text"].str.startswith("spam").tolist() == [False] * 8 + [True] * 8
    assert balanced["Text"].is_unique


@pytest.mark.parametrize("n_ham", [50, 8])
def test_the_undersampled_ham_is_what_the_book_draws(n_ham):
    messages = messages_of(n_ham, 8)
    ham, spam = (messages[messages["Label"] == label] for label in ("ham", "spam"))
    expected = [*ham.sample(8, random_state=123)["Text"], *spam["Text"]]
    assert sms.balance(messages, seed=123)["Text"].tolist() == expected
    assert sms.balance(messages, seed=124)["Text"].tolist() != expected


def test_of_many_labels_each_is_cut_to_the_size_of_the_smallest():
    labels = ["sun"] * 9 + ["ants"] * 7 + ["bread"] * 4
    messages = pd.DataFrame({"Label": labels, "Text": [f"{label} {i}" for i, label in enumerate(labels)]})
    balanced = sms.balance(messages, seed=3)
    assert balanced["Label"].tolist() == ["ants"] * 4 + ["bread"] * 4 + ["sun"] * 4
    assert balanced["Text"].is_unique
    assert balanced["Text"].tolist()[4:8] == [f"bread {i}" for i in range(16, 20)]
    assert all(text.startswith(label) for label, text in balanced.values)


def test_labels_become_their_positions():
    numbered = sms.number_labels(pd.DataFrame({"Label": ["b", "a", "c"], "Text": ["x", "y", "z"]}), ["a", "b", "c"])
    assert numbered["Label"].tolist() == [1, 0, 2] and numbered["Label"].dtype == "int64"


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


def test_the_bonus_split_shuffles_the_balanced_messages_once_more():
    balanced = sms.balance(messages_of(30, 9), seed=1)
    once = balanced.sample(frac=1, random_state=2).reset_index(drop=True)  # as the published script does first
    found, expected = sms.split(balanced, 0.7, 0.1, seed=2, kind="bonus"), sms.split(once, 0.7, 0.1, seed=2)
    assert all(one.equals(other) for one, other in zip(found, expected, strict=True))
    assert not found[0].equals(sms.split(balanced, 0.7, 0.1, seed=2)[0])


def test_a_split_with_an_empty_part_is_refused_with_its_sizes():
    with pytest.raises(InputError, match=r"4 messages .* give 2, 0 and 2 "):
        sms.split(sms.balance(messages_of(2, 2), seed=1), 0.7, 0.1, seed=1)


def test_training_messages_that_lack_a_label_are_refused():
    balanced = sms.balance(messages_of(50, 50), seed=1)
    with pytest.raises(InputError, match=r"none of the 1 training messages has the label '(ham|spam)': give more"):
        sms.split(balanced, 0.015, 0.5, seed=1)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 0.98), st.floats(0.01, 0.98), st.integers(0, 2**32 - 1))
def test_any_split_is_disjoint_complete_and_drawn_by_its_seed(n_ham, n_spam, train_fraction, validation_fraction, seed):
    balanced = sms.balance(messages_of(n_ham, n_spam), seed)
    assert balanced["Label"].value_counts().to_dict() == {"ham": min(n_ham, n_spam), "spam": min(n_ham, n_spam)}
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
        assert found["Label"].nunique() >= 2 and found["Text"].str.strip().all()


def test_labels_may_be_written_in_any_case(tmp_path):
    labels = read_messages(written(tmp_path, "Ham\thi\nSPAM \twin now\n" + BOTH))["Label"].tolist()
    assert labels[:2] == ["ham", "spam"] and set(labels) == {"ham", "spam"}


# Split files


@given(st.lists(st.tuples(st.integers(0, 99), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))))
def test_any_text_comes_back_from_a_split_file(tmp_path_factory, rows):
    rows = [*rows, (1, '=cmd("a"),\t\r\n\n\' end '), (0, "NA"), (0, "1e5")]
    path = tmp_path_factory.getbasetemp() / "any.csv"
    frame = pd.DataFrame(rows, columns=["Label", "Text"])
    sms.write_split_csv(path, frame)
    assert sms.read_split_csv(path, 100).values.tolist() == frame.values.tolist()
    assert sms.read_split_csv(path, 100)["Label"].dtype == "int64"


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
        ("Label,Text\n2,a\n", "row 1: got ['2', 'a'], wanted a label from 0 to 1 and a text"),
        ("Label,Text\n-1,a\n", "row 1"),
        ("Label,Text\n01,a\n", "row 1"),
        ("Label,Text\n1,a,b\n", "row 1"),
    ],
)
def test_other_columns_and_labels_in_a_split_file_are_refused(tmp_path, content, said):
    with pytest.raises(OutputError) as raised:
        sms.read_split_csv(written(tmp_path, content, "train.csv"), 2)
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
@pytest.mark.parametrize(("kind", "spam"), [("book", [517, 79, 151]), ("bonus", [515, 73, 159])])
def test_uci_s_file_has_the_published_spam_in_each_split(uci_path, kind, spam):
    parts = sms.split(sms.balance(read_messages(uci_path), seed=123), 0.7, 0.1, seed=123, kind=kind)
    assert [len(part) for part in parts] == [1045, 149, 300]
    assert [(part["Label"] == "spam").sum() for part in parts] == spam


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
