"""Contextual embeddings: token ids in, one vector for each token in its context out.

    bert         the encoder of the BERT family        weights     published folders to and from it
    native       its weights for the native kernel     masking     which words are hidden
    sequences    a corpus packed into sequences        pretraining BERT with its two heads, its sizes
    pretrain     BERT from raw text                    characters  words as characters
    lstm         both directions of a layer            elmo        ELMo, to train and to use
    train_elmo   ELMo from raw text                    softmax     its losses over sampled candidates
    settings     how both are trained                  occurrences a word's vectors where it stands, gaps filled
    threads      how many a native call takes

docs/pretraining.md has each objective on a page.
"""
