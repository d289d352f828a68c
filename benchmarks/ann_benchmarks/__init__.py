"""What ann-benchmarks needs to run firth; see module.py."""
