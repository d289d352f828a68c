"""text: str -> ids. What firth reads, how it is cut into chunks, and how it becomes token ids.

    records    Document, Pair, Judgements, Ragged          testset   TestSet: what a model is measured on
    read       a path -> Domain, whatever the path holds   chunks    long texts -> overlapping chunks with offsets
    lines      bytes -> checked lines                      tokenizer texts -> Ragged ids, counted where cut

One reader a format: beir, table (JSONL, CSV, TSV, Parquet and their column names), qrels (TREC), files.
"""
