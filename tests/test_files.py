import pytest

from bayeslmm.checks import InputError, examples
from bayeslmm.files import output_folder, replacing, sha256


def test_a_crash_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_success_replaces(tmp_path):
    with replacing(tmp_path / "x.tsv") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "x.tsv").read_text() == "new"


def test_missing_folders_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot be written"), replacing(tmp_path / "no" / "x.tsv"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        output_folder(tmp_path / "file" / "x")


def test_sha256_of_the_empty_file(write):
    assert sha256(write("empty", "")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_examples_are_few():
    assert examples("abcde") == "a, b, c and 2 more"
    assert examples("ab") == "a, b"
