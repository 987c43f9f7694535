import csv
import gzip

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import random_split
from jaxdl.data.encoding import encode, fit_encoder
from jaxdl.data.submission import write_submission
from jaxdl.data.tables import OTTO, TITANIC, Schema, Table, read_table

PETS = Schema(
    numeric=("age", "weight"),
    categorical=("kind",),
    label="adopted",
    classes=("no", "yes"),
    id="number",
    ignored=("remark",),
)
HEADER = "number,age,weight,kind,adopted"
ROWS = ["a,1,4.5,cat,yes", "b, ,30,dog,no", "c,3, 25.5 , dog ,no", "d,2,3,,yes"]


@pytest.fixture
def write(tmp_path):
    def write_lines(*lines):
        path = tmp_path / "pets.csv"
        path.write_text("\n".join(lines))
        return path

    return write_lines


def kaggle_rows(path):
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_columns_are_read_as_declared(write):
    table = read_table(write(HEADER, *ROWS), PETS, labelled=True)
    np.testing.assert_array_equal(table.numeric["age"], [1, np.nan, 3, 2])
    np.testing.assert_array_equal(table.numeric["weight"], [4.5, 30, 25.5, 3])
    assert table.categorical["kind"].tolist() == ["cat", "dog", "dog", ""]
    assert table.label.tolist() == [1, 0, 0, 1]
    assert table.label.dtype == np.int32
    assert table.id.tolist() == ["a", "b", "c", "d"]


def test_columns_may_stand_in_any_order(write):
    lines = ["kind, remark ,number,weight,age", "cat,x,a,4.5,1", "dog,,b,30,"]
    table = read_table(write(*lines), PETS, labelled=False)
    np.testing.assert_array_equal(table.numeric["age"], [1, np.nan])
    assert table.numeric["weight"].tolist() == [4.5, 30]
    assert table.categorical["kind"].tolist() == ["cat", "dog"]
    assert table.label is None


def test_a_label_that_is_not_asked_for_is_not_read(write):
    lines = [HEADER, "a,1,2,cat,no idea"]
    assert read_table(write(*lines), PETS, labelled=False).label is None


def test_a_schema_may_have_neither_label_nor_id(write):
    schema = Schema(numeric=("age",))
    table = read_table(write("age", "1", "2"), schema, labelled=False)
    assert table.label is table.id is None
    with pytest.raises(ValueError, match=r"labelled=True, and the schema has no label"):
        read_table(write("age", "1"), schema, labelled=True)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"pets\.csv is empty"),
        ([HEADER], r"pets\.csv has a header and no rows below it"),
        (
            ["number,age,kind,adopted", "a,1,cat,no"],
            r"pets\.csv lacks 'weight': its header names 'number', 'age', 'kind'",
        ),
        ([HEADER.replace("adopted", "remark"), ROWS[0]], r"lacks 'adopted'"),
        (
            [HEADER + ",colour", ROWS[0] + ",red"],
            r"has 'colour', which the schema does",
        ),
        ([HEADER + ",age", ROWS[0] + ",1"], r"names 'age' twice in its header"),
        ([HEADER, ROWS[0], "b,1,2,cat"], r"line 3 has 4 fields, not 5 as line 1"),
        (
            [HEADER, ROWS[0], "", "b,old,2,cat,no"],
            r"pets\.csv line 4 column 'age': 'old' is no finite float32 number",
        ),
        ([HEADER, "a,nan,2,cat,no"], r"line 2 column 'age': 'nan' is no finite"),
        (
            [HEADER, ROWS[0], "b,1,2,cat,maybe"],
            r"line 3 column 'adopted': 'maybe' is none of 'no', 'yes'",
        ),
        ([HEADER, "a,1,2,cat,"], r"line 2 column 'adopted': '' is none of 'no', 'yes'"),
        ([HEADER, ROWS[0], " ,1,2,cat,no"], r"line 3 column 'number' is empty"),
    ],
)
def test_a_file_that_does_not_fit_the_schema_is_refused(write, lines, message):
    with pytest.raises(ValueError, match=message):
        read_table(write(*lines), PETS, labelled=True)


def test_a_wide_header_is_shortened_in_the_message(write):
    lines = [",".join(f"c{i}" for i in range(5000)), ",".join("1" * 5000)]
    with pytest.raises(ValueError, match=r"lacks .*'c9', \.\.\.$") as caught:
        read_table(write(*lines), OTTO, labelled=True)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"numeric": ("a", "b"), "id": "a"}, r"schema names 'a'.* more than once"),
        ({"numeric": ("a",), "ignored": ("a",)}, r"names 'a'.* more than once"),
        ({"id": "a"}, r"no numeric and no categorical column"),
        ({"numeric": ("a",), "label": "b"}, r"label='b' and classes=\(\) need each"),
        ({"numeric": ("a",), "classes": ("b",)}, r"label=None and classes=\('b',\)"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Schema(**fields)


# Kaggle's own files.


@pytest.mark.parametrize(("part", "labelled"), [("train", True), ("test", False)])
def test_titanic_reads_as_the_csv_module_reads_it(raw_dir, part, labelled):
    path = raw_dir / f"titanic_{part}.csv.gz"
    table = read_table(path, TITANIC, labelled=labelled)
    rows = kaggle_rows(path)
    for name in TITANIC.numeric:
        expected = [float(row[name] or "nan") for row in rows]
        np.testing.assert_array_equal(table.numeric[name], expected)
    for name in TITANIC.categorical:
        assert table.categorical[name].tolist() == [row[name] for row in rows]
    assert table.id.tolist() == [row["PassengerId"] for row in rows]
    if labelled:
        assert table.label.tolist() == [int(row["Survived"]) for row in rows]


def test_titanic_counts(raw_dir):
    train = read_table(raw_dir / "titanic_train.csv.gz", TITANIC, labelled=True)
    assert np.bincount(train.label).tolist() == [549, 342]
    assert np.isnan(train.numeric["Age"]).sum() == 177
    assert (train.categorical["Embarked"] == "").sum() == 2


def test_titanic_from_kaggles_files_to_a_submission(raw_dir, tmp_path):
    train = read_table(raw_dir / "titanic_train.csv.gz", TITANIC, labelled=True)
    test = read_table(raw_dir / "titanic_test.csv.gz", TITANIC, labelled=False)
    encoder = fit_encoder(TITANIC, train)
    x, test_x = encode(encoder, train), encode(encoder, test)
    assert x.shape == (891, 16)
    assert test_x.shape == (418, 16)
    assert np.isfinite(x).all()
    assert np.isfinite(test_x).all()

    women = test_x[:, encoder.feature_names.index("Sex=female")].astype(np.int32)
    path = tmp_path / "submission.csv"
    write_submission(path, TITANIC, test.id, women)
    with open(path, newline="") as file:
        written = list(csv.DictReader(file))
    rows = kaggle_rows(raw_dir / "titanic_test.csv.gz")
    assert [list(row) for row in written[:1]] == [["PassengerId", "Survived"]]
    assert [(row["PassengerId"], row["Survived"]) for row in written] == [
        (row["PassengerId"], str(int(row["Sex"] == "female"))) for row in rows
    ]
    assert len(written) == 418


def test_otto_from_its_file_to_a_submission(tmp_path, rng):
    counts = rng.poisson(1.0, (20, 93))
    lines = [",".join(["id", *OTTO.numeric, "target"])]
    for i, row in enumerate(counts):
        lines.append(",".join([str(i + 1), *map(str, row), f"Class_{i % 9 + 1}"]))
    path = tmp_path / "train.csv"
    path.write_text("\n".join(lines))
    table = read_table(path, OTTO, labelled=True)
    read = np.stack([table.numeric[f"feat_{i}"] for i in range(1, 94)], axis=1)
    np.testing.assert_array_equal(read, counts)
    assert table.label.tolist() == [i % 9 for i in range(20)]
    assert encode(fit_encoder(OTTO, table), table).shape == (20, 93)


# Submissions.


def rows_of(path):
    return path.read_text().splitlines()


@pytest.mark.parametrize("module", [np, jnp], ids=["numpy", "jax"])
def test_classes_are_written_by_name(tmp_path, module):
    path = tmp_path / "s.csv"
    write_submission(path, PETS, ["x", "y"], module.array([1, 0]))
    assert rows_of(path) == ["number,adopted", "x,yes", "y,no"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, jnp.bfloat16])
def test_probabilities_are_written_by_class(tmp_path, rng, dtype):
    probs = rng.dirichlet(np.ones(9), 5).astype(dtype)
    path = tmp_path / "s.csv"
    write_submission(path, OTTO, [str(i) for i in range(1, 6)], probs)
    header, *rows = (row.split(",") for row in rows_of(path))
    assert header == ["id", *(f"Class_{i}" for i in range(1, 10))]
    assert [row[0] for row in rows] == list("12345")
    written = np.array([row[1:] for row in rows], np.float64)
    np.testing.assert_allclose(written, probs.astype(np.float64), rtol=5e-9)
    if dtype != np.float64:
        np.testing.assert_array_equal(written.astype(dtype), probs)


@pytest.mark.parametrize(
    ("ids", "predictions", "message"),
    [
        (["1"], [0, 1], r"1 ids for 2 predictions"),
        (["1", "1"], [0, 1], r"ids, .* unique, are empty or twice: \['1'\]"),
        (["", "1"], [0, 1], r"ids, .* unique, are empty or twice: \[''\]"),
        (["1", "2"], [0, 2], r"predictions\[1\]=2: classes must lie in 0\.\.1"),
        (["1", "2"], [-1, 0], r"predictions\[0\]=-1: classes must lie in 0\.\.1"),
        (["1"], [[0.5, 1.5]], r"predictions\[0, 1\]=1\.5: probabilities must lie in 0"),
        (["1"], [[np.nan, 0.5]], r"predictions\[0, 0\]=nan: probabilities must lie"),
        (["1"], [[0.5, 0.2, 0.3]], r"shape \(1, 3\) and float64 .* or .* \(n, 2\)"),
        (["1"], [0.7], r"shape \(1,\) and float64 must be integers of shape \(n,\)"),
        (["1"], [[0, 1]], r"shape \(1, 2\) and int64 must be integers"),
        (["1"], [True], r"shape \(1,\) and bool must be integers"),
        (["1"], 0.5, r"shape \(\) and float64 must be integers"),
    ],
)
def test_a_submission_that_kaggle_would_refuse_is_refused(
    tmp_path, unchecked, ids, predictions, message
):
    path = tmp_path / "s.csv"
    with pytest.raises(ValueError, match=message):
        write_submission(path, PETS, ids, np.array(predictions))
    assert not path.exists()


@pytest.mark.parametrize("without", ["id", "label"])
def test_a_submission_needs_an_id_and_a_label(tmp_path, without):
    fields = {"id": {"id": "n"}, "label": {"label": "y", "classes": ("0", "1")}}
    del fields[without]
    schema = Schema(numeric=("a",), **next(iter(fields.values())))
    with pytest.raises(ValueError, match=r"schema with an id and a label"):
        write_submission(tmp_path / "s.csv", schema, ["1"], np.array([0]))


def test_a_table_splits_like_any_data(write):
    table = read_table(write(HEADER, *ROWS), PETS, labelled=True)
    parts = random_split(jax.random.key(0), table, [3, 1])
    assert all(isinstance(part, Table) for part in parts)
    weight = dict(zip(table.id, table.numeric["weight"], strict=True))
    for part in parts:
        assert part.numeric["weight"].tolist() == [weight[id_] for id_ in part.id]
    assert sorted([*parts[0].id, *parts[1].id]) == list("abcd")
