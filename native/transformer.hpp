// A BERT-family encoder (post-LN, full attention) over ragged texts: its weights, and one call that runs it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace firth {

enum class Activation { gelu, gelu_tanh, relu };  // of the feed-forward layer; gelu is the exact one, with erf

struct EncoderSettings {
    std::size_t dims, heads, inner;  // d, h, width of the feed-forward layer; heads divides dims
    float eps;                       // of the layer normalisation
    Activation activation;
};

// Row-major float32, read once when they are packed.
struct LayerWeights {
    const float *qkv, *qkv_bias;          // (3d, d), (3d,): queries, keys, values
    const float *out, *out_bias;          // (d, d), (d,)
    const float *out_scale, *out_shift;   // (d,) each, of the normalisation after attention
    const float *up, *up_bias;            // (inner, d), (inner,)
    const float *down, *down_bias;        // (d, inner), (d,)
    const float *down_scale, *down_shift; // (d,) each, of the normalisation after the feed-forward layer
};

// Row-major float32, read at every call: they must outlive the encoder.
struct EncoderTables {
    const float *tokens;            // (v, d)
    const float *positions;         // (p, d): row i is added to the i-th token of a text
    const float *scale, *shift;     // (d,) each, of the normalisation of the sum
    const float *relative;          // (h, 2p - 1) or null: column p - 1 + j - i is added to the score of key j at query i
    std::size_t longest;            // p
};

// Ids are below v, offsets rise from 0 to the number of tokens, no text is longer than p: the caller has checked.
struct RaggedTexts {
    const std::int32_t *ids;
    const std::int64_t *offsets;  // (n + 1)
    std::size_t n;
};

enum class Pool { none, mean, first };  // (t, d) hidden states, or (n, d): their mean, or the first token's

class Transformer {
  public:
    virtual ~Transformer() = default;
    virtual void add_layer(const LayerWeights &weights) = 0;
    virtual const char *precision() const = 0;
    virtual void run(const RaggedTexts &texts, Pool pool, float *out, int threads,
                     const std::atomic<bool> &stop) const = 0;
};

// bfloat16 where this CPU level multiplies it natively, float32 elsewhere: precision() tells.
std::unique_ptr<Transformer> make_transformer(const EncoderSettings &settings, const EncoderTables &tables,
                                              bool bfloat16);

}  // namespace firth
