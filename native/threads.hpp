// A team of threads for one call: started when the call begins, joined before it returns, never hidden.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace firth {

// Calls body(begin, end, thread) over slices of [0, n), handed out in order as threads become free.
// grain: items a slice; a slice should take well under a tenth of a second, since `stop` is read between slices.
// The first exception thrown by any slice ends the run and is thrown again here.
template <class Body>
void parallel_for(std::size_t n, std::size_t grain, int threads, const std::atomic<bool> &stop, Body &&body) {
    grain = std::max<std::size_t>(grain, 1);
    const std::size_t slices = (n + grain - 1) / grain;
    const int team = static_cast<int>(std::min<std::size_t>(std::max(threads, 1), std::max<std::size_t>(slices, 1)));
    std::atomic<std::size_t> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr failure;
    std::mutex mutex;
    auto run = [&](int thread) {
        try {
            for (std::size_t s; !stop.load(std::memory_order_relaxed) && !failed.load(std::memory_order_relaxed) &&
                                (s = next.fetch_add(1)) < slices;)
                body(s * grain, std::min(n, (s + 1) * grain), thread);
        } catch (...) {
            std::lock_guard lock(mutex);
            if (!failure) failure = std::current_exception();
            failed = true;
        }
    };
    std::vector<std::thread> helpers;
    for (int t = 1; t < team; ++t) helpers.emplace_back(run, t);
    run(0);
    for (auto &helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace firth
