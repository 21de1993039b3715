// The C interface: banks.
#include "api.hpp"
#include "frozen.hpp"

using namespace vtr;
using namespace vtr::api;

namespace {

vtr_bank* make_bank(std::shared_ptr<const Model> model, std::shared_ptr<Bank> bank,
                    std::shared_ptr<const Paths> paths) {
    return new vtr_bank{{std::move(model), true}, std::move(bank), std::move(paths)};
}

}  // namespace

vtr_status vtr_bank_create(const vtr_model* model, vtr_bank** bank) {
    return guarded([&] {
        require(model, "model");
        require(bank, "bank");
        *bank = make_bank(model->model, std::make_shared<Bank>(model->model->scorer), nullptr);
    });
}

vtr_status vtr_bank_append(vtr_bank* bank, const int64_t* ids, size_t rows, const vtr_array* columns,
                           size_t count) {
    return guarded([&] {
        require(bank, "bank");
        const std::span<const int64_t> added = list(ids, rows, "ids");
        if (!added.empty() && added[0] < 0) refuse("ids: expected 0 or more, got " + std::to_string(added[0]));
        bank->bank->append(added, list(columns, count, "columns"));
    });
}

vtr_status vtr_bank_remove(vtr_bank* bank, const int64_t* ids, size_t count, size_t* removed) {
    return guarded([&] {
        require(bank, "bank");
        const size_t found = bank->bank->remove(list(ids, count, "ids"));
        if (removed) *removed = found;
    });
}

vtr_status vtr_bank_clone(const vtr_bank* bank, vtr_bank** clone) {
    return guarded([&] {
        require(bank, "bank");
        require(clone, "clone");
        *clone = make_bank(bank->model.model, bank->bank->clone(), bank->paths);
    });
}

vtr_status vtr_bank_load(const char* path, const vtr_load_options* options, vtr_bank** bank) {
    return guarded([&] {
        require(path, "path");
        require(bank, "bank");
        LoadOptions load;
        if (options) {
            const vtr_load_options known = read_options(options, LOAD_OPTIONS_1, "load_options");
            load = {known.isa, flag(known.fast, "fast"), pool_of(known.pool), flag(known.trust, "trust")};
        }
        FrozenBank frozen = load_frozen(path, load);
        *bank = make_bank(std::move(frozen.model), std::move(frozen.bank), std::move(frozen.paths));
    });
}

vtr_status vtr_bank_save(const vtr_bank* bank, const char* path, const char* const* paths) {
    return guarded([&] {
        require(bank, "bank");
        require(path, "path");
        save_frozen(*bank->model.model, *bank->bank->state(), path, paths);
    });
}

const vtr_model* vtr_bank_model(const vtr_bank* bank) { return bank ? &bank->model : nullptr; }

size_t vtr_bank_count(const vtr_bank* bank) { return bank ? bank->bank->count() : 0; }

size_t vtr_bank_bytes(const vtr_bank* bank) { return bank ? bank->bank->bytes() : 0; }

vtr_status vtr_bank_ids(const vtr_bank* bank, int64_t* ids, size_t capacity, size_t* count) {
    return guarded([&] {
        require(bank, "bank");
        require(count, "count");
        if (capacity > 0) require(ids, "ids");
        *count = bank->bank->ids({ids, capacity});
    });
}

const char* vtr_bank_path(const vtr_bank* bank, int64_t id) {
    return bank && bank->paths ? bank->paths->find(id) : nullptr;
}

void vtr_bank_free(vtr_bank* bank) { delete bank; }
