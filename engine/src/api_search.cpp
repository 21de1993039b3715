// The C interface: queries and search.
#include "api.hpp"

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

Texts vtr::api::texts_of(const Scorer& scorer, size_t texts, const float* sentence, const float* words,
                         Pool* pool) {
    require(sentence, "sentence");
    const size_t per_text = scorer.options.dim * (1 + scorer.options.words);
    if (scorer.options.words > 0) require(words, "words");
    if (texts == 0 || texts > PTRDIFF_MAX / sizeof(float) / per_text)
        refuse("texts: expected 1 or more, as many as memory can hold, got " + std::to_string(texts));
    return {texts, sentence, words, pool};
}

vtr_status vtr_query_create(const vtr_model* model, size_t texts, const float* sentence, const float* words,
                            vtr_pool* pool, vtr_query** query) {
    return guarded([&] {
        require(model, "model");
        require(query, "query");
        const Scorer& scorer = *model->model->scorer;
        const Texts given = texts_of(scorer, texts, sentence, words, pool_of(pool));
        auto made = std::make_unique<vtr_query>();
        made->scorer = model->model->scorer;
        made->query = scorer.prepare(given);
        *query = made.release();
    });
}

size_t vtr_query_texts(const vtr_query* query) { return query ? query->query->texts : 0; }

void vtr_query_free(vtr_query* query) { delete query; }

vtr_status vtr_search(const vtr_bank* bank, const vtr_query* query, const vtr_search_options* options,
                      int64_t* ids, float* scores, size_t* found) {
    return guarded([&] {
        require_same_model(bank, query);
        const SearchOptions wanted = search_options(options);
        require(ids, "ids");
        require(scores, "scores");
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
