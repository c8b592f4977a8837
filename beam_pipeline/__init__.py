"""Media in, transcripts, translations, subtitles and a Parquet dataset out."""
