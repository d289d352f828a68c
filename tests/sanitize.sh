#!/bin/bash
# usage: tests/sanitize.sh asan|tsan [pytest arguments]
#
# Builds the native half under a sanitizer, apart from the usual build, and runs the tests of the kernels, of the
# index, of words and of ELMo with it. asan: addresses and undefined behaviour. tsan: data races. PYTHON names the
# interpreter; LEVELS=v4 (or "v3;v4") builds and runs those CPU levels only.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:?asan or tsan}
shift
python=$(realpath --no-symlinks "$(command -v "${PYTHON:-python3}")")  # whole, and the one of the environment
case $kind in
  asan) flags=address,undefined libraries="libasan.so libubsan.so" ;;
  tsan) flags=thread libraries="libtsan.so" ;;
  *) echo "expected asan or tsan, got $kind" >&2; exit 2 ;;
esac
site=build/$kind/site
cmake -S . -B "build/$kind" -DCMAKE_BUILD_TYPE=RelWithDebInfo "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -g1" -DFIRTH_SANITIZE=$flags \
  "-DFIRTH_ONLY=${LEVELS:-}" -DPython_EXECUTABLE="$python" >/dev/null
cmake --build "build/$kind" --parallel 2
rm -rf "$site"  # a level built earlier is not this one
mkdir -p "$site"
find src/firth -name '*.py' -o -name '*.pyi' | while read -r file; do
  install -D -m 644 "$file" "$site/${file#src/}"
done
cmake --install "build/$kind" --prefix "$site" >/dev/null

preload=
for library in $libraries; do preload+=$("${CXX:-g++}" -print-file-name="$library"):; done
# Python itself is not built with the sanitizer: its arenas would hide overruns (PYTHONMALLOC) and look like leaks.
# hnswlib, a peer in the tests, frees with delete what it made with new[].
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:allocator_may_return_null=1:alloc_dealloc_mismatch=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:exitcode=66:suppressions=$PWD/tests/tsan.supp
export PYTHONMALLOC=malloc OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONPATH=$PWD/$site FIRTH_SANITIZED=$kind
# hnswlib takes two locks in two orders, which stops the race checker; its files are read by one thread.
peers=
if [ "$kind" = tsan ]; then peers=--ignore=tests/index/test_foreign.py; fi
tests=${*:-tests/test_kernels.py tests/index tests/compress tests/static tests/contextual/test_elmo_kernels.py tests/text/test_wordpiece.py tests/evaluate/test_runfile.py}
# The subprocess tests start interpreters of their own under other levels; they say nothing more under a sanitizer.
# shellcheck disable=SC2086
LD_PRELOAD=$preload "$python" -m pytest -q -x --timeout=1200 -k "not environment and not every_cpu_level" $peers $tests
