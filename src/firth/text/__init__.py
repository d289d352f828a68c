"""text: str -> ids. What firth reads, how it is cut into chunks, and how it becomes token ids.

    read       a path -> Domain, whatever it holds     records    Document, Pair, Judgements, Ragged
    domain     streaming documents and the rest        testset    TestSet: what a model is measured on
    tokenizer  texts -> Ragged ids, cut and counted    chunks     long texts -> overlapping chunks with offsets
    sentences  raw text -> documents of sentences      vocabulary texts -> a WordPiece tokenizer

Readers, one file a format: beir, qrels (TREC), jsonl, delimited (CSV, TSV), parquet, questions (LlamaIndex), extract
(.txt .md .html .docx .pdf). What they share: lines (bytes to checked lines), fields (names of columns), table and
tables (files of rows), folder (files to chunks), judged, settings. docs/data.md shows each format by example.
"""
