import json

from image_features.transforms.shards.shard_file import ShardFile


def test_a_shard_is_kept_as_json_under_fixed_names():
    shard = ShardFile("errors", "errors-00000-of-00001.jsonl", 2, 10, "bb", {"not_found": 2})
    entry = {
        "kind": "errors",
        "name": "errors-00000-of-00001.jsonl",
        "rows": 2,
        "bytes": 10,
        "sha256": "bb",
    }
    assert json.dumps(shard.to_json()) == json.dumps(entry)
