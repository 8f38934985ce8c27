import pytest

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.files import (
    changed,
    fingerprints,
    output_folder,
    read_sealed,
    remove_stale,
    replacing,
    sha256,
    write_sealed,
)


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


def test_every_changed_bit_of_a_sealed_file_is_seen(tmp_path):
    path, content = tmp_path / "x", b"some\nbytes\0"
    write_sealed(path, content)
    assert read_sealed(path) == content
    whole = path.read_bytes()
    for changed_to in [
        whole[:-1],
        b"",
        *(whole[:i] + bytes([whole[i] ^ 64]) + whole[i + 1 :] for i in range(len(whole))),
    ]:
        path.write_bytes(changed_to)
        with pytest.raises(InputError, match="is damaged, it does not match its checksum"):
            read_sealed(path)


def test_a_file_that_was_written_anew_or_removed_is_seen(write, tmp_path):
    files = [write(name, "text") for name in "abc"]
    before = fingerprints(files)
    assert before[str(files[0])].sha256 == sha256(files[0])
    with replacing(files[1]) as temporary:
        temporary.write_text("text")
    files[2].unlink()
    assert changed(before) == [str(files[1]), str(files[2])]


def test_temporary_folders_of_killed_runs_are_removed_and_others_stay(tmp_path):
    (tmp_path / ".bayeslmm-killed").mkdir()
    (tmp_path / ".bayeslmm-killed" / "x.tsv").write_text("half")
    with replacing(tmp_path / "x.tsv") as temporary:
        temporary.write_text("whole")
        remove_stale(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [temporary.parent.name]
    assert (tmp_path / "x.tsv").read_text() == "whole"


def test_a_folder_has_a_fingerprint_of_its_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0").write_text("one")
    before = fingerprints([tmp_path / "a"])
    assert changed(before) == []
    (tmp_path / "a" / "1").write_text("two")
    assert changed(before) == [str(tmp_path / "a")]
    assert fingerprints([tmp_path / "a"]) != before
