"""Whole programs, one a file: read, work, write. The command line offers each; so can a script.

A recipe module has `Settings` (its flags), `run(settings)` (the work, returning a result) and `show(result, console)`.
"""
