"""firth inside the frameworks that people build with; each file behind an extra, imported by its own name.

firth.adapters.langchain     FirthEmbeddings, FirthVectorStore       pip install 'firth[langchain]'
firth.adapters.llama_index   FirthEmbedding, FirthVectorStore        pip install 'firth[llama-index]'
firth.adapters.sklearn       TextEncoder, a transformer for pipelines   pip install 'firth[tasks]'
"""
