"""The verb `shards`: the media of a manifest in tar files."""

from __future__ import annotations

from avts_ext.data.shards import write_shards


def shards(
    manifest: str, output: str = "shards", files_per_shard: int = 500, url: str | None = None
) -> None:
    """Pack the usable files of a manifest into tar files, for data that does not fit one disk.

    Needs the webdataset library.

    Args:
        manifest: made by `avts index`.
        output: folder for the tar files and for their manifest, from which training can read;
            also -o.
        files_per_shard: number of files in each.
        url: where the tar files will be read from, such as https://example.org/films or
            "pipe:aws s3 cp s3://films"; by default from beside their manifest.
    """
    path = write_shards(manifest, output, files_per_shard=files_per_shard, url=url, progress=True)
    print(f"train from {path}")
