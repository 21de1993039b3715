// Handles of libvtr as the binding's classes hold them: copies share one, and it goes with the last.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>

#include <memory>
#include <optional>
#include <utility>

#include "status.hpp"
#include "vtr/vtr.h"

namespace vtr::python {

struct Pool {
    std::shared_ptr<vtr_pool> handle;
};

using Pools = std::optional<Pool>;  // None works on the calling thread alone
inline vtr_pool* pool_of(const Pools& pool) { return pool ? pool->handle.get() : nullptr; }

struct Model {
    std::shared_ptr<const vtr_model> handle;

    vtr_model_options options() const {
        vtr_model_options options{};
        options.size = sizeof options;
        run([&] { return vtr_model_describe(handle.get(), &options); });
        return options;
    }
};

struct Bank {
    std::shared_ptr<vtr_bank> handle;

    size_t count() const { return vtr_bank_count(handle.get()); }
    Bank clone() const {
        vtr_bank* bank = nullptr;
        run([&] { return vtr_bank_clone(handle.get(), &bank); });
        return {{bank, vtr_bank_free}};
    }
};

// What __init__ is defined with, of a function that makes a T.
template <class T, class... Arguments>
auto constructor(T (*make)(Arguments...)) {
    return [make](T* self, Arguments... arguments) { new (self) T(make(std::forward<Arguments>(arguments)...)); };
}

void add_device_classes(nanobind::module_& m);  // device.cpp

}  // namespace vtr::python
