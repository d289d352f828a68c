// An LSTM layer of both directions over a whole stretch of steps, with projection and clipping, and its gradient.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>

namespace firth {

struct LstmShape {
    std::size_t steps, rows, inputs, cells, width;  // s, b, i, c, p
    float cell_clip, projection_clip;
};

// Row-major float32; gates in the order input, forget, output, new.
struct LstmWeights {
    const float *inner;  // (2, i, 4c)
    const float *again;  // (2, p, 4c)
    const float *bias;   // (2, 4c)
    const float *out;    // (2, c, p)
};

struct LstmGradients {
    float *x;                           // (2, s, b, i)
    float *inner, *again, *bias, *out;  // as LstmWeights
};

// What the gradient needs of the steps lies in here, and is used anew by the next forward.
class Lstm {
  public:
    virtual ~Lstm() = default;
    virtual const char *precision() const = 0;

    // x (2, s, b, i), h (2, b, p) and c (2, b, c) before the first step -> y (2, s, b, p), end (2, b, c) the cells
    // behind the last. Each direction reads its own half of x, front to back.
    virtual void forward(const LstmWeights &weights, const float *x, const float *h, const float *c, float *y, float *end,
                         int threads, const std::atomic<bool> &stop) = 0;

    // Of the forward just run: y is what it gave, dy the gradient of it.
    virtual void backward(const LstmWeights &weights, const float *y, const float *dy, const LstmGradients &gradients,
                          int threads, const std::atomic<bool> &stop) = 0;
};

// bfloat16 products where this CPU level has them, float32 elsewhere: precision() tells.
std::unique_ptr<Lstm> make_lstm(const LstmShape &shape, bool bfloat16);

}  // namespace firth
