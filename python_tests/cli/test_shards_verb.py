from avts_ext.cli.__main__ import main
from avts_ext.world import generate


def test_index_pack_and_train(tmp_path, capsys):
    generate(str(tmp_path / "world"), videos=9, seed=1)
    films, shards = str(tmp_path / "films.parquet"), str(tmp_path / "shards")
    assert main(["index", str(tmp_path / "world"), "-o", films]) == 0
    assert main(["shards", films, "-o", shards, "--files_per_shard", "3"]) == 0
    assert f"train from {shards}/manifest.parquet" in capsys.readouterr().out


def test_bad_input_is_one_line(tmp_path, capsys):
    assert main(["shards", str(tmp_path / "none.parquet")]) == 1
    assert capsys.readouterr().err.startswith("avts shards: manifest must be a file, got ")
