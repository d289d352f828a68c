// The codecs' kernels for Python: scalar, axes and product encoding, k-means, Hamming distances.
#include "bindings.hpp"
#include "codec_scalar.hpp"
#include "kmeans.hpp"
#include "simd.hpp"
#include "threads.hpp"

#include <bit>
#include <cstring>
#include <stdexcept>

namespace firth {
namespace {

constexpr std::size_t GRAIN = 512;  // rows between two looks at `stop`

void scalar_encode(In2<float> vectors, In1<float> mean, In1<float> inverse, Out2<uint8_t> out, int threads) {
    const std::size_t n = vectors.shape(0), d = vectors.shape(1), width = out.shape(1);
    if (width < d || out.shape(0) != n || mean.shape(0) != d || inverse.shape(0) != d)
        throw std::invalid_argument("scalar_encode: shapes do not fit");
    const float *from = vectors.data(), *centre = mean.data(), *scale = inverse.data();
    uint8_t *to = out.data();
    interruptible([&](const std::atomic<bool> &stop) {
        parallel_for(n, GRAIN, threads, stop, [&](std::size_t begin, std::size_t end, int) {
            for (std::size_t i = begin; i < end; ++i) encode_bytes(from + i * d, centre, scale, d, to + i * width, width);
        });
    });
}

void axes_encode(In2<float> vectors, In1<float> mean, In2<float> axes, In1<float> step, In1<uint8_t> top,
                 In1<float> weight, Out2<uint8_t> out, int threads) {
    const std::size_t n = vectors.shape(0), d = vectors.shape(1), m = axes.shape(0);
    if (mean.shape(0) != d || axes.shape(1) != d || step.shape(0) != m || top.shape(0) != m || weight.shape(0) != m ||
        out.shape(0) != n || out.shape(1) != m)
        throw std::invalid_argument("axes_encode: shapes do not fit");
    interruptible([&](const std::atomic<bool> &stop) {
        parallel_for(n, GRAIN / 4, threads, stop, [&](std::size_t begin, std::size_t end, int) {
            std::vector<float> centred(d), values(m);
            std::vector<double> off(m);
            for (std::size_t i = begin; i < end; ++i) {
                for (std::size_t j = 0; j < d; ++j) centred[j] = vectors.data()[i * d + j] - mean.data()[j];
                for (std::size_t j = 0; j < m; ++j) values[j] = dot(centred.data(), axes.data() + j * d, d);
                encode_steps(values.data(), step.data(), top.data(), weight.data(), m, off.data(), out.data() + i * m);
            }
        });
    });
}

void find_centres(In2<float> points, In1<double> drawn, int rounds, Out2<float> centres, int threads) {
    const std::size_t n = points.shape(0), d = points.shape(1), k = centres.shape(0);
    if (n == 0 || k == 0 || centres.shape(1) != d || drawn.shape(0) != k)
        throw std::invalid_argument("kmeans: shapes do not fit");
    for (std::size_t i = 0; i < k; ++i)
        if (!(drawn(i) >= 0 && drawn(i) < 1)) throw std::invalid_argument("kmeans: drawn numbers lie in [0, 1)");
    interruptible([&](const std::atomic<bool> &stop) {
        kmeans(points.data(), n, d, d, k, drawn.data(), rounds, centres.data(), threads, stop);
    });
}

using Books = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

void product_encode(In2<float> vectors, Books books, Out2<uint8_t> out, int threads) {
    const std::size_t n = vectors.shape(0), m = books.shape(0), k = books.shape(1), d = books.shape(2);
    if (vectors.shape(1) != m * d || k > 256 || k == 0 || out.shape(0) != n || out.shape(1) != m)
        throw std::invalid_argument("product_encode: shapes do not fit");
    std::vector<std::vector<float>> turned;
    for (std::size_t s = 0; s < m; ++s) turned.push_back(turn(books.data() + s * k * d, k, d));
    interruptible([&](const std::atomic<bool> &stop) {
        parallel_for(n, GRAIN / 4, threads, stop, [&](std::size_t begin, std::size_t end, int) {
            std::vector<float> scratch(k);
            for (std::size_t i = begin; i < end; ++i)
                for (std::size_t s = 0; s < m; ++s)
                    out.data()[i * m + s] = static_cast<uint8_t>(
                        nearest(vectors.data() + (i * m + s) * d, turned[s].data(), d, k, scratch.data(), nullptr));
        });
    });
}

void hamming(In2<uint8_t> queries, In2<uint8_t> codes, Out2<int32_t> out, int threads) {
    const std::size_t q = queries.shape(0), n = codes.shape(0), width = codes.shape(1);
    if (queries.shape(1) != width || out.shape(0) != q || out.shape(1) != n)
        throw std::invalid_argument("hamming: shapes do not fit");
    interruptible([&](const std::atomic<bool> &stop) {
        parallel_for(n, GRAIN, threads, stop, [&](std::size_t begin, std::size_t end, int) {
            for (std::size_t i = 0; i < q; ++i)
                for (std::size_t j = begin; j < end; ++j) {
                    const uint8_t *a = queries.data() + i * width, *b = codes.data() + j * width;
                    int32_t differ = 0;
                    std::size_t at = 0;
                    for (; at + 8 <= width; at += 8) {
                        uint64_t x, y;
                        std::memcpy(&x, a + at, 8), std::memcpy(&y, b + at, 8);
                        differ += std::popcount(x ^ y);
                    }
                    for (; at < width; ++at) differ += std::popcount(static_cast<uint8_t>(a[at] ^ b[at]));
                    out.data()[i * n + j] = differ;
                }
        });
    });
}

}  // namespace

void bind_compress(nb::module_ &m) {
    m.def("scalar_encode", &scalar_encode, nb::arg("vectors"), nb::arg("mean"), nb::arg("inverse"), nb::arg("out"),
          nb::arg("threads"));
    m.def("axes_encode", &axes_encode, nb::arg("vectors"), nb::arg("mean"), nb::arg("axes"), nb::arg("step"),
          nb::arg("top"), nb::arg("weight"), nb::arg("out"), nb::arg("threads"));
    m.def("kmeans", &find_centres, nb::arg("points"), nb::arg("drawn"), nb::arg("rounds"), nb::arg("centres"),
          nb::arg("threads"));
    m.def("product_encode", &product_encode, nb::arg("vectors"), nb::arg("books"), nb::arg("out"), nb::arg("threads"));
    m.def("hamming", &hamming, nb::arg("queries"), nb::arg("codes"), nb::arg("out"), nb::arg("threads"));
}

}  // namespace firth
