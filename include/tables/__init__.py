"""Tables of strangers: CSV files of any dialect and Parquet files, read so that each value is what the source says."""
