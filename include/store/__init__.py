"""The object store (S3): client, lock, sources of raw data, and the objects that DVC keeps there."""
