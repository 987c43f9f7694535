import csv
import gzip

import jax
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl.data import faker_names, random_split
from jaxdl.data.faker_names import FAKER_TABLES, bundled_names
from jaxdl.data.names import (
    VOCABULARY_SIZE,
    encode_countries,
    encode_names,
    load_names,
    read_names,
)


@pytest.fixture
def write(tmp_path):
    def write_text(text, name="names.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


@pytest.fixture(scope="module")
def bundled():
    return bundled_names(jax.random.key(0))


def decoded(part):
    return ["".join(map(chr, row[row > 0])) for row in part["text"]]


@given(st.lists(st.text(st.characters(min_codepoint=1, max_codepoint=127), min_size=1)))
def test_encoding_pads_as_pytorch_does(names):
    if not names:
        return
    encoded = encode_names(names)
    codes = [torch.tensor([ord(c) for c in name]) for name in names]
    padded = torch.nn.utils.rnn.pad_sequence(codes, batch_first=True)
    np.testing.assert_array_equal(encoded["text"], padded.numpy())
    assert encoded["length"].tolist() == [len(name) for name in names]
    assert encoded["text"].dtype == encoded["length"].dtype == np.int32
    assert encoded["text"].max() < VOCABULARY_SIZE
    assert decoded(encoded) == names


def test_names_are_padded_to_the_length_asked_for():
    encoded = encode_names(["Li"], max_length=4)
    assert encoded["text"].tolist() == [[76, 105, 0, 0]]
    assert encoded["length"].tolist() == [2]


@pytest.mark.parametrize(
    ("names", "max_length", "message"),
    [
        ([], None, r"there are no names to encode"),
        (["Li", ""], None, r"names\[1\] has an empty name"),
        (["Li", "Abe"], 2, r"names\[1\], 'Abe', has 3 characters, .* max_length=2"),
        (["Müller"], None, r"names\[0\]: the name 'Müller' has .* 'ü' \(U\+00FC\)"),
        (["a\0"], None, r"names\[0\]: .* has the character '\\x00' \(U\+0000\)"),
        (["\x80"], None, r"'\\x80' \(U\+0080\), which is not ASCII"),
    ],
)
def test_names_that_cannot_be_encoded_are_refused(names, max_length, message):
    with pytest.raises(ValueError, match=message):
        encode_names(names, max_length)


def test_countries_are_encoded_by_place():
    labels = encode_countries(["b", "a", "b"], ("a", "b", "c"))
    assert labels.tolist() == [1, 0, 1]
    assert labels.dtype == np.int32
    with pytest.raises(ValueError, match=r"country 'd' is none of the 3 class names"):
        encode_countries(["a", "d"], ("a", "b", "c"))


# Files.


def test_the_course_files_hold_what_the_csv_module_reads(raw_dir):
    paths = [raw_dir / f"names_{part}.csv.gz" for part in ("train", "test")]
    data = load_names(*paths)
    assert len(data.class_names) == 18
    assert data.class_names == tuple(sorted(data.class_names))
    for part, path, n in zip(
        (data.train, data.test), paths, (13_374, 6_700), strict=True
    ):
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            names, countries = zip(*csv.reader(file), strict=True)
        assert part["text"].shape == (n, 19)
        assert decoded(part) == list(names)
        assert part["length"].tolist() == [len(name) for name in names]
        assert [data.class_names[i] for i in part["label"]] == list(countries)
    russian = data.class_names.index("Russian")
    assert (data.train["label"] == russian).sum() == 6272
    assert (data.test["label"] == russian).sum() == 3136


def test_both_parts_share_a_length_and_the_training_parts_countries(write):
    train = write("Abe,Japanese\nNovak,Czech\n", "train.csv")
    test = write('"Yamamoto","Japanese"\n', "test.csv")
    data = load_names(train, str(test))
    assert data.class_names == ("Czech", "Japanese")
    assert data.train["text"].shape == (2, 8)
    assert data.test["text"].shape == (1, 8)
    assert data.train["label"].tolist() == [1, 0]
    assert data.test["label"].tolist() == [1]


def test_of_one_file_the_key_picks_a_third(write):
    rows = [
        (f"{'ab'[i % 2]}{chr(97 + i)}", "Irish" if i % 2 else "Czech") for i in range(9)
    ]
    path = write("".join(f"{name},{country}\n" for name, country in rows))
    data = load_names(path, key=jax.random.key(0))
    assert [len(part["label"]) for part in (data.train, data.test)] == [6, 3]
    found = [
        (bytes(text.tolist()).decode(), data.class_names[label])
        for part in (data.train, data.test)
        for text, label in zip(part["text"], part["label"], strict=True)
    ]
    assert found != rows
    assert sorted(found) == sorted(rows)
    with pytest.raises(ValueError, match="one file of names needs a key"):
        load_names(path)


def test_a_country_that_was_not_trained_on_is_refused(write):
    train = write("Abe,Japanese\nNovak,Czech\n", "train.csv")
    test = write("Sato,Japanese\nLi,Chinese\n", "test.csv")
    message = r"test\.csv line 2: the country 'Chinese' is none of the 2 .* Czech, Jap"
    with pytest.raises(ValueError, match=message):
        load_names(train, test)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"names\.csv is empty"),
        ("a,b,c\n", r"names\.csv has 3 columns, not the two of name and country"),
        ("Abe\n", r"names\.csv has 1 columns"),
        ("Abe,Japanese\nLi\n", r"line 2 has 1 fields, not 2"),
        ("Abe,Japanese\n,Czech\n", r"names\.csv line 2 has an empty name"),
        ("Abe,Japanese\n\nNovak,\n", r"names\.csv line 3 has an empty country"),
        (
            "Abe,Japanese\nNovák,Czech\n",
            r"names\.csv line 2: the name 'Novák' has the character 'á' \(U\+00E1\)",
        ),
    ],
)
def test_a_file_that_holds_no_names_is_refused(write, text, message):
    with pytest.raises(ValueError, match=message):
        read_names(write(text))


def test_names_are_kept_to_the_letter(write):
    names, countries = read_names(write('"Oh ",Korean\n"O\'Neal, Jr",Irish\n'))
    assert names == ["Oh ", "O'Neal, Jr"]
    assert countries == ["Korean", "Irish"]


# Faker's.


def test_bundled_names_are_real_names_of_their_language(bundled):
    assert bundled.class_names == tuple(sorted(FAKER_TABLES))
    found = {language: set() for language in bundled.class_names}
    for part in (bundled.train, bundled.test):
        for name, label in zip(decoded(part), part["label"], strict=True):
            found[bundled.class_names[label]].add(name)
    assert {"Kowalewski", "Abramczuk"} <= found["Polish"]
    assert "Takahashi" in found["Japanese"]
    assert {"Benes", "Vondra"} & found["Czech"]
    assert "Ackermann" in found["German"]
    assert min(len(names) for names in found.values()) >= 40


def test_no_name_occurs_twice(bundled):
    names = decoded(bundled.train) + decoded(bundled.test)
    assert len(names) == len(set(names))


def test_bundled_names_fit_the_vocabulary(bundled):
    for part in (bundled.train, bundled.test):
        assert part["text"].shape == (len(part["label"]), 20)
        assert part["text"].dtype == part["label"].dtype == np.int32
        assert (part["length"] == (part["text"] > 0).sum(axis=1)).all()
        assert (part["length"] >= 1).all()


def test_a_third_is_the_test_set(bundled):
    n_train, n_test = len(bundled.train["label"]), len(bundled.test["label"])
    assert abs(n_train - 2 * n_test) <= 2


def test_the_text_states_what_was_counted(bundled):
    faker = pytest.importorskip("faker")
    if faker.VERSION != "40.54.0":
        pytest.skip(f"counted in Faker 40.54.0, not in {faker.VERSION}")
    labels = np.concatenate([bundled.train["label"], bundled.test["label"]])
    counts = dict(zip(bundled.class_names, np.bincount(labels), strict=True))
    assert len(labels) == 14_920
    assert (counts["Polish"], counts["Japanese"]) == (3283, 49)


def test_the_key_names_the_split(bundled):
    again, other = (bundled_names(jax.random.key(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(bundled.train["text"], again.train["text"])
    assert not np.array_equal(bundled.train["text"], other.train["text"])
    assert sorted(decoded(bundled.train) + decoded(bundled.test)) == sorted(
        decoded(other.train) + decoded(other.test)
    )


def test_the_split_is_the_same_in_every_process(bundled):
    """Python orders a set of strings anew in each: they are sorted before the split."""
    parts = (bundled.train, bundled.test)
    label = np.concatenate([part["label"] for part in parts])
    names = decoded(bundled.train) + decoded(bundled.test)
    pairs = sorted(zip(label.tolist(), names, strict=True))
    data = encode_names([name for _, name in pairs])
    train, _ = random_split(jax.random.key(0), data, [2 / 3, 1 / 3])
    np.testing.assert_array_equal(train["text"], bundled.train["text"])


def test_names_are_spelled_without_diacritics_or_left_out(monkeypatch):
    class Provider:
        north = ("Nuñez", "Müller", "Groß", "Wałęsa", "Abe", "x" * 21, "Ångström")
        south = ("Muller", "Novák", "", "x" * 20)

    module = type("Module", (), {"Provider": Provider})
    monkeypatch.setattr(faker_names, "import_optional", lambda *_: module)
    tables = {"South": ("s.south",), "North": ("n.north",)}
    monkeypatch.setattr(faker_names, "FAKER_TABLES", tables)
    data = bundled_names(jax.random.key(0))
    assert data.class_names == ("North", "South")
    names = {
        name: data.class_names[label]
        for part in (data.train, data.test)
        for name, label in zip(decoded(part), part["label"], strict=True)
    }
    north = dict.fromkeys(("Nunez", "Abe", "Angstrom"), "North")
    assert names == north | {"Novak": "South", "x" * 20: "South"}


def test_a_table_that_faker_dropped_is_named(monkeypatch):
    monkeypatch.setattr(faker_names, "FAKER_TABLES", {"Thai": ("th_TH.surnames",)})
    with pytest.raises(ImportError, match=r"Faker has no th_TH\.surnames: .*faker==40"):
        bundled_names(jax.random.key(0))


def test_a_locale_that_faker_lacks_is_named(monkeypatch):
    monkeypatch.setattr(
        faker_names, "FAKER_TABLES", {"Klingon": ("tlh_QO.last_names",)}
    )
    with pytest.raises(ImportError, match=r"needs faker\.providers\.person\.tlh_QO"):
        bundled_names(jax.random.key(0))
