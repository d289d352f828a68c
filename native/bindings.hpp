// What every bind_*.cpp shares: array types, and running long work so that Ctrl-C is answered within a second.
//
// A kernel is a plain C++ function of pointers and sizes in its own family's .cpp; it never sees a Python object.
// bind_<family>.cpp checks shapes, releases the GIL, and calls it. module.cpp lists the families.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace nb = nanobind;

namespace firth {

template <class T> using In1 = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T> using In2 = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T> using Out1 = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T> using Out2 = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

constexpr auto SIGNAL_POLL = std::chrono::milliseconds(50);  // how often a long run asks Python for signals

// Runs work(stop) on another thread with the GIL released; the calling thread looks for Ctrl-C meanwhile.
// `work` must look at `stop` at least every tenth of a second and return early when it is set.
template <class Work> void interruptible(Work &&work) {
    std::atomic<bool> stop{false};
    std::exception_ptr failure;
    bool done = false, interrupted = false;
    std::mutex mutex;
    std::condition_variable finished;
    std::thread worker([&] {
        try {
            work(stop);
        } catch (...) {
            failure = std::current_exception();
        }
        std::lock_guard lock(mutex);
        done = true;
        finished.notify_one();
    });
    {
        nb::gil_scoped_release released;
        std::unique_lock lock(mutex);
        while (!finished.wait_for(lock, SIGNAL_POLL, [&] { return done; })) {
            if (stop.load(std::memory_order_relaxed)) continue;
            lock.unlock();
            {
                nb::gil_scoped_acquire held;
                interrupted = PyErr_CheckSignals() != 0;
            }
            lock.lock();
            if (interrupted) stop.store(true);
        }
        lock.unlock();
        worker.join();
    }
    if (interrupted) throw nb::python_error();
    if (failure) std::rethrow_exception(failure);
}

void bind_compress(nb::module_ &m);
void bind_elmo(nb::module_ &m);
void bind_glove(nb::module_ &m);
void bind_index(nb::module_ &m);
void bind_runs(nb::module_ &m);
void bind_scan(nb::module_ &m);
void bind_scores(nb::module_ &m);
void bind_transformer(nb::module_ &m);
void bind_wordpiece(nb::module_ &m);
void bind_sgns(nb::module_ &m);
void bind_words(nb::module_ &m);

}  // namespace firth
