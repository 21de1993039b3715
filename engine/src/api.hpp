// What the functions of the C interface share: handles, the guard, checks of pointers and structures.
//
// Handles hold shared objects, so they may be freed in any order.
#pragma once

#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "bank.hpp"
#include "cuda/device_bank.hpp"
#include "error.hpp"
#include "model.hpp"
#include "paths.hpp"
#include "pool.hpp"
#include "search.hpp"

struct vtr_pool {
    explicit vtr_pool(size_t threads) : pool(threads) {}
    vtr::Pool pool;
};

struct vtr_model {
    std::shared_ptr<const vtr::Model> model;
    bool of_bank = false;  // part of a bank's handle, and freed with that
};

struct vtr_bank {
    vtr_model model;
    std::shared_ptr<vtr::Bank> bank;
    std::shared_ptr<const vtr::Paths> paths;  // null: it was not loaded, or from a file without
};

struct vtr_query {
    std::shared_ptr<const vtr::Scorer> scorer;  // that made it, and that alone it is for
    std::unique_ptr<const vtr::Query> query;
};

struct vtr_device {
    std::shared_ptr<const vtr::cuda::Device> device;
};

struct vtr_device_bank {
    std::shared_ptr<vtr::cuda::DeviceBank> bank;
};

namespace vtr::api {

// Keeps what the exception in flight says for vtr_last_error, and returns its status.
vtr_status record_exception() noexcept;

// The body of a function of the interface: no exception leaves it.
template <class Body>
vtr_status guarded(Body&& body) noexcept {
    try {
        body();
        return VTR_OK;
    } catch (...) {
        return record_exception();
    }
}

[[noreturn]] inline void refuse(const std::string& message) { throw Error(VTR_INVALID_ARGUMENT, message); }

inline void require(const void* pointer, const char* name) {
    if (!pointer) refuse(std::string(name) + " is NULL");
}

inline bool flag(int32_t value, const char* name) {
    if (value != 0 && value != 1) refuse(std::string(name) + ": expected 0 or 1, got " + std::to_string(value));
    return value == 1;
}

// Throws Error unless `size` is that of the structure's first version or of a later one.
void check_size(const char* name, size_t size, size_t first);

// A structure of options as this version has it. One of an older version is filled up with zeros; one of a newer
// version must be zero where this one knows nothing.
template <class Structure>
Structure read_options(const Structure* given, size_t first, const char* name) {
    require(given, name);
    size_t size;
    std::memcpy(&size, given, sizeof size);  // its first member, whatever its version
    check_size(name, size, first);
    const auto* bytes = reinterpret_cast<const unsigned char*>(given);
    for (size_t byte = sizeof(Structure); byte < size; ++byte)
        if (bytes[byte] != 0)
            throw Error(VTR_UNSUPPORTED, std::string(name) + " asks for something newer than this library, " +
                                             vtr_version() + ": update it");
    Structure options{};
    std::memcpy(&options, given, size < sizeof options ? size : sizeof options);
    return options;
}

// An array of `count` elements of the caller. Throws Error: NULL, unless there are none.
template <class T>
std::span<const T> list(const T* first, size_t count, const char* name) {
    if (count > 0) require(first, name);
    if (count > PTRDIFF_MAX / sizeof(T))
        refuse(std::string(name) + ": " + std::to_string(count) + " are too many");
    return {first, count};
}

// Texts of the caller for a scorer. Throws Error: NULL, or none, or more than memory can hold.
Texts texts_of(const Scorer& scorer, size_t texts, const float* sentence, const float* words, Pool* pool);

// Size of each structure when it was first published.
inline constexpr size_t MODEL_OPTIONS_1 = 48, LOAD_OPTIONS_1 = 32, SEARCH_OPTIONS_1 = 48, DEVICE_INFO_1 = 40,
                        DEVICE_BANK_OPTIONS_1 = 16;
static_assert(sizeof(vtr_model_options) == MODEL_OPTIONS_1 && sizeof(vtr_load_options) == LOAD_OPTIONS_1 &&
                  sizeof(vtr_search_options) == SEARCH_OPTIONS_1 && sizeof(vtr_device_info) == DEVICE_INFO_1 &&
                  sizeof(vtr_device_bank_options) == DEVICE_BANK_OPTIONS_1,
              "published structures only grow, and have no padding that a new member could fall into");

inline Pool* pool_of(vtr_pool* pool) { return pool ? &pool->pool : nullptr; }

inline SearchOptions search_options(const vtr_search_options* options) {
    const vtr_search_options known = read_options(options, SEARCH_OPTIONS_1, "search_options");
    const std::span<const int64_t> only = list(known.only, known.only_count, "only");
    SearchOptions wanted;
    wanted.k = known.k;
    wanted.candidates = known.candidates;
    wanted.pool = pool_of(known.pool);
    if (known.only) wanted.only = only;
    return wanted;
}

}  // namespace vtr::api
