// The C interface: queries and search.
#include "api.hpp"
#include "search.hpp"

using namespace vtr;
using namespace vtr::api;

namespace {

void require_same_model(const vtr_bank* bank, const vtr_query* query) {
    require(bank, "bank");
    require(query, "query");
    if (bank->bank->scorer != query->scorer)
        refuse("the query is of another model than the bank: make it with vtr_bank_model of this bank");
}

}  // namespace

vtr_status vtr_query_create(const vtr_model* model, size_t texts, const float* sentence, const float* words,
                            vtr_pool* pool, vtr_query** query) {
    return guarded([&] {
        require(model, "model");
        require(query, "query");
        require(sentence, "sentence");
        const Scorer& scorer = *model->model->scorer;
        const size_t per_text = scorer.options.dim * (1 + scorer.options.words);
        if (scorer.options.words > 0) require(words, "words");
        if (texts == 0 || texts > PTRDIFF_MAX / sizeof(float) / per_text)
            refuse("texts: expected 1 or more, as many as memory can hold, got " + std::to_string(texts));
        auto made = std::make_unique<vtr_query>();
        made->scorer = model->model->scorer;
        made->query = scorer.prepare({texts, sentence, words, pool_of(pool)});
        *query = made.release();
    });
}

size_t vtr_query_texts(const vtr_query* query) { return query ? query->query->texts : 0; }

void vtr_query_free(vtr_query* query) { delete query; }

vtr_status vtr_search(const vtr_bank* bank, const vtr_query* query, const vtr_search_options* options,
                      int64_t* ids, float* scores, size_t* found) {
    return guarded([&] {
        require_same_model(bank, query);
        const vtr_search_options known = read_options(options, SEARCH_OPTIONS_1, "search_options");
        require(ids, "ids");
        require(scores, "scores");
        SearchOptions wanted;
        wanted.k = known.k;
        wanted.candidates = known.candidates;
        wanted.pool = pool_of(known.pool);
        const std::span<const int64_t> only = list(known.only, known.only_count, "only");
        if (known.only) wanted.only = only;
        search(*bank->bank, *query->query, wanted, ids, scores, found);
    });
}

vtr_status vtr_score(const vtr_bank* bank, const vtr_query* query, const int64_t* ids, size_t count,
                     vtr_pool* pool, float* scores) {
    return guarded([&] {
        require_same_model(bank, query);
        if (count > 0) require(scores, "scores");
        score(*bank->bank, *query->query, ids, count, pool_of(pool), scores);
    });
}
