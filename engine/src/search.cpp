#include "search.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "error.hpp"
#include "scan.hpp"
#include "topk.hpp"

namespace vtr {

namespace {

// Each thread that works on a search keeps the best that it saw; in the end they are put together. As hits have a
// strict order, it does not matter who saw which.
class Ranker {
  public:
    Ranker(Pool* pool, size_t texts, size_t k)
        : pool_(pool), texts_(texts), k_(k), workers_(pool ? pool->threads() : 1) {}

    void offer(size_t worker, size_t text, const float* scores, const Batch& batch) {
        if (workers_[worker].empty()) workers_[worker].assign(texts_, TopK(k_));
        TopK& best = workers_[worker][text];
        if (!batch.places) return best.offer(scores, batch.keys, batch.count);
        for (size_t i = 0; i < batch.count; ++i) best.offer({scores[batch.places[i]], batch.keys[i]});
    }

    std::vector<Ranking> rankings() {
        std::vector<Ranking> rankings(texts_);
        const bool long_work = texts_ * k_ > 10'000;
        run(long_work ? pool_ : nullptr, texts_, [&](size_t text, size_t, Scratch&) {
            TopK best(k_);
            for (const auto& worker : workers_)
                if (!worker.empty())
                    for (const Hit& hit : worker[text].hits()) best.offer(hit);
            rankings[text] = std::move(best).sorted();
        });
        return rankings;
    }

  private:
    Pool* const pool_;
    const size_t texts_, k_;
    std::vector<std::vector<TopK>> workers_;
};

float* scores_for(Scratch& scratch, size_t texts, const Block& block) {
    return scratch.slot<float>(Scan::FREE_SLOT, texts * block.count);
}

std::vector<Ranking> best_by_model(const Scan& scan, const Scorer& scorer, const Query& query, size_t k,
                                   Pool* pool) {
    Ranker ranker(pool, query.texts, k);
    run(pool, scan.tasks(), [&](size_t task, size_t worker, Scratch& scratch) {
        scan.visit(task, scratch, [&](const Batch& batch) {
            float* scores = scores_for(scratch, query.texts, batch.block);
            scorer.score(query, 0, query.texts, batch.block, scratch, scores);
            for (size_t text = 0; text < query.texts; ++text)
                ranker.offer(worker, text, scores + text * batch.block.count, batch);
        });
    });
    return ranker.rankings();
}

// The ids of the candidates of each text, ascending: as many for every text.
std::vector<std::vector<int64_t>> candidates(const Scan& scan, const Scorer& scorer, const Query& query,
                                             size_t count, Pool* pool) {
    Ranker ranker(pool, query.texts, count);
    run(pool, scan.tasks(), [&](size_t task, size_t worker, Scratch& scratch) {
        scan.visit(task, scratch, [&](const Batch& batch) {
            const size_t rows = batch.block.count;
            float* scores = scores_for(scratch, query.texts, batch.block);
            scorer.preselect(query, batch.block, scratch, scores);
            for (size_t i = 0; i < query.texts * rows; ++i)  // NaN is worst here: the full model may yet like it
                if (scores[i] != scores[i]) scores[i] = -std::numeric_limits<float>::infinity();
            for (size_t text = 0; text < query.texts; ++text)
                ranker.offer(worker, text, scores + text * rows, batch);
        });
    });
    std::vector<std::vector<int64_t>> ids(query.texts);
    size_t text = 0;
    for (const Ranking& ranking : ranker.rankings()) {
        for (const Hit& hit : ranking) ids[text].push_back(hit.id);
        std::sort(ids[text].begin(), ids[text].end());
        ++text;
    }
    return ids;
}

std::vector<Ranking> best_of_candidates(const State& state, const Scorer& scorer, const Query& query,
                                        const std::vector<std::vector<int64_t>>& chosen, size_t k, Pool* pool) {
    std::vector<Scan> scans;
    scans.reserve(query.texts);
    for (const auto& ids : chosen) scans.emplace_back(state, scorer, Keys::ids, std::span(ids));
    const size_t tasks = scans.empty() ? 0 : scans[0].tasks();  // each text has as many
    Ranker ranker(pool, query.texts, k);
    run(pool, query.texts * tasks, [&](size_t task, size_t worker, Scratch& scratch) {
        const size_t text = task / tasks;
        scans[text].visit(task % tasks, scratch, [&](const Batch& batch) {
            float* scores = scores_for(scratch, 1, batch.block);
            scorer.score(query, text, 1, batch.block, scratch, scores);
            ranker.offer(worker, text, scores, batch);
        });
    });
    return ranker.rankings();
}

void check_size(const char* name, size_t each, size_t texts) {
    if (texts > 0 && each > PTRDIFF_MAX / sizeof(int64_t) / texts)
        throw Error(VTR_INVALID_ARGUMENT, std::string(name) + " " + std::to_string(each) + " for " +
                                              std::to_string(texts) + " texts is more than memory can hold");
}

}  // namespace

void check_options(size_t texts, const SearchOptions& options) {
    if (options.k == 0) throw Error(VTR_INVALID_ARGUMENT, "expected k of at least 1, got 0");
    check_size("k", options.k, texts);
    if (!options.only) return;
    for (size_t i = 1; i < options.only->size(); ++i)
        if ((*options.only)[i] <= (*options.only)[i - 1])
            throw Error(VTR_INVALID_ARGUMENT, "expected ascending ids to search among, got " +
                                                  std::to_string((*options.only)[i]) + " after " +
                                                  std::to_string((*options.only)[i - 1]) + ": sort them");
}

void write_rankings(const std::vector<Ranking>& rankings, size_t k, int64_t* ids, float* scores, size_t* found) {
    for (size_t text = 0; text < rankings.size(); ++text) {
        const Ranking& ranking = rankings[text];
        for (size_t i = 0; i < k; ++i) {
            const bool there = i < ranking.size();
            ids[text * k + i] = there ? ranking[i].id : -1;
            scores[text * k + i] = there ? ranking[i].score : -std::numeric_limits<float>::infinity();
        }
        if (found) found[text] = ranking.size();
    }
}

void search(const Bank& bank, const Query& query, const SearchOptions& options, int64_t* ids, float* scores,
            size_t* found) {
    check_options(query.texts, options);
    const auto state = bank.state();
    const Scorer& scorer = *bank.scorer;
    const size_t videos = options.only ? std::min(options.only->size(), state->count) : state->count;
    const size_t k = std::min(options.k, videos);
    const Scan scan(*state, scorer, Keys::ids, options.only);

    std::vector<Ranking> rankings;
    if (options.candidates == 0 || options.candidates >= videos) {
        rankings = best_by_model(scan, scorer, query, k, options.pool);
    } else {
        const auto chosen = candidates(scan, scorer, query, options.candidates, options.pool);
        rankings = best_of_candidates(*state, scorer, query, chosen, k, options.pool);
    }
    write_rankings(rankings, options.k, ids, scores, found);
}

void score(const Bank& bank, const Query& query, const int64_t* ids, size_t count, Pool* pool, float* out) {
    check_size("count", count, query.texts);
    const auto state = bank.state();
    if (!ids && count != state->count)
        throw Error(VTR_INVALID_ARGUMENT,
                    "expected room for " + std::to_string(state->count) + " videos, got " + std::to_string(count));
    std::optional<std::span<const int64_t>> list;
    if (ids) {
        list = std::span(ids, count);
        Finder finder(*state);
        for (const int64_t id : *list)
            if (!finder.find(id))
                throw Error(VTR_INVALID_ARGUMENT, "the bank has no video of id " + std::to_string(id));
    }
    const Scorer& scorer = *bank.scorer;
    const Scan scan(*state, scorer, Keys::positions, list);
    run(pool, scan.tasks(), [&](size_t task, size_t, Scratch& scratch) {
        scan.visit(task, scratch, [&](const Batch& batch) {
            float* scores = scores_for(scratch, query.texts, batch.block);
            scorer.score(query, 0, query.texts, batch.block, scratch, scores);
            for (size_t text = 0; text < query.texts; ++text)
                for (size_t i = 0; i < batch.count; ++i)
                    out[text * count + batch.keys[i]] =
                        scores[text * batch.block.count + (batch.places ? batch.places[i] : i)];
        });
    });
}

}  // namespace vtr
