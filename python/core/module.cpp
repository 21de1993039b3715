// vtr._core: the classes of libvtr in Python. Every rule of vtr/vtr.h holds here; shapes are checked before the
// core sees a pointer, and the interpreter's lock is let go of while it works.
#include <nanobind/stl/string.h>

#include <unistd.h>

#include "paths.hpp"
#include "texts.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace vtr::python {
namespace {

struct Query {
    std::shared_ptr<const vtr_query> handle;
    size_t texts() const { return vtr_query_texts(handle.get()); }
};

// ---- pools and models ------------------------------------------------------------------------------------

Pool make_pool(size_t threads) {
    vtr_pool* pool = nullptr;
    run([&] { return vtr_pool_create(threads, &pool); });
    // A forked process cannot wait for the end of threads that it does not have.
    return {{pool, [owner = getpid()](vtr_pool* unused) {
                 if (getpid() == owner) vtr_pool_free(unused);
             }}};
}

vtr_dtype storage_of(const std::string& name) {
    if (name == "float16") return VTR_F16;
    if (name == "bfloat16") return VTR_BF16;
    refuse("expected storage as float16 or bfloat16, got " + name);
}

Model make_model(const std::string& scoring, const nb::dict& head, int32_t dim, int32_t frames, int32_t words,
                 int32_t keep, const std::string& isa, const std::string& storage, bool fast) {
    const std::vector<Array> tensors = arrays_of(head, "tensors");
    const std::vector<vtr_array> views = views_of(tensors);
    const vtr_model_options options{.size = sizeof options,
                                    .scoring = scoring.c_str(),
                                    .frames = frames,
                                    .words = words,
                                    .dim = dim,
                                    .keep = keep,
                                    .isa = isa.c_str(),
                                    .storage = storage_of(storage),
                                    .fast = fast};
    vtr_model* model = nullptr;
    run([&] { return vtr_model_create(&options, views.data(), views.size(), &model); });
    return {{model, vtr_model_free}};
}

// ---- banks -----------------------------------------------------------------------------------------------

Bank adopt(vtr_bank* bank) { return {{bank, vtr_bank_free}}; }

Bank make_bank(const Model& model) {
    vtr_bank* bank = nullptr;
    run([&] { return vtr_bank_create(model.handle.get(), &bank); });
    return adopt(bank);
}

void append_videos(Bank& bank, nb::handle ids, const nb::dict& columns) {
    const Array numbers(ids, "ids");
    const std::span<const int64_t> rows = numbers.integers();
    const std::vector<Array> arrays = arrays_of(columns, "columns");
    const std::vector<vtr_array> views = views_of(arrays);
    run([&] { return vtr_bank_append(bank.handle.get(), rows.data(), rows.size(), views.data(), views.size()); });
}

size_t remove_videos(Bank& bank, nb::handle ids) {
    const Array numbers(ids, "ids");
    const std::span<const int64_t> rows = numbers.integers();
    size_t removed = 0;
    run([&] { return vtr_bank_remove(bank.handle.get(), rows.data(), rows.size(), &removed); });
    return removed;
}

Bank load(nb::handle path, const std::string& isa, bool fast, const Pools& pool, bool trust) {
    const std::string file = system_path(path);
    const vtr_load_options options{
        .size = sizeof options, .isa = isa.c_str(), .pool = pool_of(pool), .fast = fast, .trust = trust};
    vtr_bank* bank = nullptr;
    run([&] { return vtr_bank_load(file.c_str(), &options, &bank); });
    return adopt(bank);
}

void save(const Bank& bank, nb::handle path, const std::optional<std::vector<nb::bytes>>& paths) {
    const std::string file = system_path(path);
    const Bank still = bank.clone();  // its videos cannot change under the list of their paths
    std::vector<const char*> texts;
    if (paths) {
        if (paths->size() != still.count())
            refuse("expected a path for each of " + std::to_string(still.count()) + " videos, got " +
                   std::to_string(paths->size()));
        for (const nb::bytes& text : *paths) {
            if (std::char_traits<char>::length(text.c_str()) != text.size())
                refuse("expected paths without a zero byte, which no file system has");
            texts.push_back(text.c_str());
        }
    }
    run([&] { return vtr_bank_save(still.handle.get(), file.c_str(), paths ? texts.data() : nullptr); });
}

Model model_of(const Bank& bank) { return {{bank.handle, vtr_bank_model(bank.handle.get())}}; }

auto ids_of(const Bank& bank) {
    const Bank still = bank.clone();
    Result<int64_t, 1> ids({still.count()});
    size_t count = 0;
    run([&] { return vtr_bank_ids(still.handle.get(), ids.data(), still.count(), &count); });
    return ids.take();
}

nb::object path_of(const Bank& bank, int64_t id) {
    const char* path = vtr_bank_path(bank.handle.get(), id);
    return path ? nb::object(nb::bytes(path)) : nb::none();
}

// ---- queries and searches --------------------------------------------------------------------------------

Query make_query(const Model& model, nb::handle sentence, nb::handle words, const Pools& pool) {
    const TextArrays texts(model.options(), sentence, words);
    vtr_query* query = nullptr;
    run([&] {
        return vtr_query_create(model.handle.get(), size_t(texts.count), texts.sentences, texts.words,
                                pool_of(pool), &query);
    });
    return {{query, vtr_query_free}};
}

nb::tuple search(const Bank& bank, const Query& query, size_t k, size_t candidates, nb::handle only,
                 const Pools& pool) {
    const Choice choice(only);
    vtr_search_options options{};
    options.size = sizeof options;
    options.k = k;
    options.candidates = candidates;
    options.pool = pool_of(pool);
    choice.give_to(options);
    return answers(query.texts(), k, [&](int64_t* ids, float* scores, size_t* found) {
        return vtr_search(bank.handle.get(), query.handle.get(), &options, ids, scores, found);
    });
}

auto score(const Bank& bank, const Query& query, nb::handle ids, const Pools& pool) {
    const Bank still = bank.clone();  // the number of all videos cannot change after the result was made
    std::optional<Array> chosen;
    if (!ids.is_none()) chosen.emplace(ids, "ids");
    const std::span<const int64_t> numbers = chosen ? chosen->integers() : std::span<const int64_t>();
    const size_t count = chosen ? numbers.size() : still.count();
    Result<float, 2> scores({query.texts(), count});
    if (count != 0)
        run([&] {
            return vtr_score(still.handle.get(), query.handle.get(), chosen ? numbers.data() : nullptr, count,
                             pool_of(pool), scores.data());
        });
    return scores.take();
}

std::vector<std::string> isas() {
    std::vector<std::string> names;
    while (const char* name = vtr_isa_name(names.size())) names.emplace_back(name);
    return names;
}

}  // namespace
}  // namespace vtr::python

NB_MODULE(_core, m) {
    using namespace vtr::python;
    nb::set_leak_warnings(false);  // an engine that lives as long as its program is no leak
    m.doc() = "libvtr, the native half of vtr: scoring, searching, frozen banks. See vtr/vtr.h for the rules.";
    m.attr("__version__") = vtr_version();
    m.def("isas", isas, "Instruction sets that this build and this processor have, best first.");

    nb::class_<Pool>(m, "Pool", "Threads that searches share; 0 takes one a core.")
        .def("__init__", constructor(make_pool), "threads"_a = 0)
        .def_prop_ro("threads", [](const Pool& pool) { return vtr_pool_threads(pool.handle.get()); });

    nb::class_<Model>(m, "Model", "The parameters of a scorer, made from a bundle's head.")
        .def("__init__", constructor(make_model), "scoring"_a, "head"_a, nb::kw_only(), "dim"_a, "frames"_a = 0,
             "words"_a = 0, "keep"_a = 0, "isa"_a = "auto", "storage"_a = "float16", "fast"_a = false)
        .def_prop_ro("scoring", [](const Model& model) { return std::string(model.options().scoring); })
        .def_prop_ro("frames", [](const Model& model) { return model.options().frames; })
        .def_prop_ro("words", [](const Model& model) { return model.options().words; })
        .def_prop_ro("dim", [](const Model& model) { return model.options().dim; })
        .def_prop_ro("keep", [](const Model& model) { return model.options().keep; })
        .def_prop_ro("isa", [](const Model& model) { return std::string(model.options().isa); })
        .def_prop_ro("fast", [](const Model& model) { return model.options().fast != 0; })
        .def_prop_ro("storage", [](const Model& model) {
            return model.options().storage == VTR_BF16 ? "bfloat16" : "float16";
        });

    nb::class_<Bank>(m, "Bank", "Videos to search. Safe from many threads, also while it changes.")
        .def("__init__", constructor(make_bank), "model"_a)
        .def_static("load", load, "path"_a, nb::kw_only(), "isa"_a = "auto", "fast"_a = false,
                    "pool"_a = nb::none(), "trust"_a = false, "Map the file that save wrote.")
        .def("save", save, "path"_a, "paths"_a = nb::none(), "Write it to one file, model included.")
        .def("append", append_videos, "ids"_a, "columns"_a,
             "Add videos: int64 [n], ascending; arrays [n, …] by name.")
        .def("remove", remove_videos, "ids"_a, "Remove videos; returns how many were there.")
        .def("clone", &Bank::clone, "The same videos in the same memory, changed by nothing done to this one.")
        .def(
            "search", search, "query"_a, "k"_a, nb::kw_only(), "candidates"_a = 0, "only"_a = nb::none(),
            "pool"_a = nb::none(),
            "The k best of each text: ids [T, k], scores [T, k], how many there are [T]; the rest is -1 and -inf.")
        .def("score", score, "query"_a, "ids"_a = nb::none(), nb::kw_only(), "pool"_a = nb::none(),
             "Logits [T, n] of the videos with these ids, or of all, ascending by id.")
        .def("ids", ids_of, "The ids of all videos, int64 [n], ascending.")
        .def("path", path_of, "id"_a, "The path of a video of a loaded bank, as bytes; None if it knows none.")
        .def_prop_ro("model", model_of)
        .def_prop_ro("nbytes", [](const Bank& bank) { return vtr_bank_bytes(bank.handle.get()); })
        .def("__len__", &Bank::count);

    nb::class_<Query>(m, "Query",
                      "Texts made ready for a model: sentence [T, D], words [T, L, D] or None, float32.")
        .def("__init__", constructor(make_query), "model"_a, "sentence"_a, "words"_a = nb::none(), nb::kw_only(),
             "pool"_a = nb::none())
        .def("__len__", &Query::texts);
    add_device_classes(m);
}
