// Texts and choices of videos as Python hands them over, and answers as it takes them back.
#pragma once

#include <nanobind/stl/vector.h>

#include <optional>
#include <vector>

#include "arrays.hpp"
#include "handles.hpp"

namespace vtr::python {

// sentence [T, D] and words [T, L, D], or None for scoring that does not look at words. Raises UsageError.
struct TextArrays {
    TextArrays(const vtr_model_options& sizes, nanobind::handle sentence, nanobind::handle words)
        : of_sentences(sentence, "sentence"), count(of_sentences.rows()) {
        sentences = of_sentences.floats_of({count, sizes.dim});
        if (words.is_none() != (sizes.words == 0))
            refuse(sizes.words ? "expected words for " + std::string(sizes.scoring) + " scoring, got None"
                               : "holistic scoring does not look at words: pass None");
        if (!sizes.words) return;
        of_words.emplace(words, "words");
        this->words = of_words->floats_of({count, sizes.words, sizes.dim});
    }

    const Array of_sentences;
    std::optional<Array> of_words;
    const int64_t count;
    const float *sentences = nullptr, *words = nullptr;
};

// The ids to search among, or all. An empty choice is not the same as none.
class Choice {
  public:
    explicit Choice(nanobind::handle only) {
        if (only.is_none()) return;
        array_.emplace(only, "only");
        ids_ = array_->integers();
    }
    void give_to(vtr_search_options& options) const {
        static const int64_t nothing = 0;
        if (!array_) return;
        options.only = ids_.empty() ? &nothing : ids_.data();
        options.only_count = ids_.size();
    }

  private:
    std::optional<Array> array_;
    std::span<const int64_t> ids_;
};

// ids [T, k], scores [T, k], how many there are [T], as `call(ids, scores, found)` writes them.
template <class Call>
nanobind::tuple answers(size_t texts, size_t k, Call&& call) {
    Result<int64_t, 2> ids({texts, k});
    Result<float, 2> scores({texts, k});
    std::vector<size_t> found(texts);
    run([&] { return call(ids.data(), scores.data(), found.data()); });
    return nanobind::make_tuple(ids.take(), scores.take(), found);
}

}  // namespace vtr::python
