// The C interface: pools, instruction sets, models.
#include "api.hpp"

#include <algorithm>

using namespace vtr;
using namespace vtr::api;

vtr_status vtr_pool_create(size_t threads, vtr_pool** pool) {
    return guarded([&] {
        require(pool, "pool");
        *pool = std::make_unique<vtr_pool>(threads).release();
    });
}

size_t vtr_pool_threads(const vtr_pool* pool) { return pool ? pool->pool.threads() : 1; }

void vtr_pool_free(vtr_pool* pool) { delete pool; }

const char* vtr_isa_name(size_t index) {
    const char* name = nullptr;
    guarded([&] { name = kernel_name(index); });
    return name;
}

vtr_status vtr_model_create(const vtr_model_options* options, const vtr_array* head, size_t tensors,
                            vtr_model** model) {
    return guarded([&] {
        const vtr_model_options known = read_options(options, MODEL_OPTIONS_1, "model_options");
        const std::span<const vtr_array> arrays = list(head, tensors, "head");
        require(model, "model");
        auto made = std::make_unique<vtr_model>();
        made->model = std::make_shared<const Model>(known, arrays);
        *model = made.release();
    });
}

vtr_status vtr_model_describe(const vtr_model* model, vtr_model_options* options) {
    return guarded([&] {
        require(model, "model");
        require(options, "options");
        const size_t size = options->size;
        check_size("model_options", size, MODEL_OPTIONS_1);
        vtr_model_options described = model->model->describe();
        described.size = size;
        std::memset(options, 0, size);  // zero means the default in what a newer caller knows
        std::memcpy(options, &described, std::min(size, sizeof described));
    });
}

void vtr_model_free(vtr_model* model) {
    if (model && !model->of_bank) delete model;
}
