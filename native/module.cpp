// The module of one CPU level: a list of its families, and what that level is.
#include "bindings.hpp"

NB_MODULE(FIRTH_MODULE, m) {
    m.attr("level") = FIRTH_LEVEL_NAME;
    firth::bind_compress(m);
    firth::bind_elmo(m);
    firth::bind_glove(m);
    firth::bind_index(m);
    firth::bind_runs(m);
    firth::bind_scan(m);
    firth::bind_scores(m);
    firth::bind_transformer(m);
    firth::bind_wordpiece(m);
    firth::bind_sgns(m);
    firth::bind_words(m);
}
