// The C interface: GPUs, and banks in their memory.
#include "api.hpp"

#include <algorithm>

using namespace vtr;
using namespace vtr::api;

vtr_status vtr_device_open(int32_t ordinal, vtr_device** device) {
    return guarded([&] {
        require(device, "device");
        auto made = std::make_unique<vtr_device>();
        made->device = std::make_shared<const cuda::Device>(cuda::Driver::open(), ordinal);
        *device = made.release();
    });
}

vtr_status vtr_device_describe(const vtr_device* device, vtr_device_info* info) {
    return guarded([&] {
        require(device, "device");
        require(info, "info");
        const size_t size = info->size;
        check_size("device_info", size, DEVICE_INFO_1);
        const cuda::Device::Memory memory = device->device->memory();
        const vtr_device_info described = {.size = size,
                                           .name = device->device->name().c_str(),
                                           .major = device->device->major(),
                                           .minor = device->device->minor(),
                                           .free_bytes = memory.free,
                                           .total_bytes = memory.total};
        std::memset(info, 0, size);
        std::memcpy(info, &described, std::min(size, sizeof described));
    });
}

void vtr_device_free(vtr_device* device) { delete device; }

vtr_status vtr_device_bank_create(const vtr_device* device, const vtr_bank* bank, const char* kernels,
                                  const vtr_device_bank_options* options, vtr_device_bank** device_bank) {
    return guarded([&] {
        require(device, "device");
        require(bank, "bank");
        require(kernels, "kernels");
        require(device_bank, "device_bank");
        cuda::DeviceBankOptions wanted;
        if (options) {
            const auto known = read_options(options, DEVICE_BANK_OPTIONS_1, "device_bank_options");
            if (known.slab_bytes > 0) wanted.slab_bytes = known.slab_bytes;
        }
        auto made = std::make_unique<vtr_device_bank>();
        made->bank = std::make_shared<cuda::DeviceBank>(device->device, bank->bank, kernels, wanted);
        *device_bank = made.release();
    });
}

vtr_status vtr_device_bank_update(vtr_device_bank* device_bank) {
    return guarded([&] {
        require(device_bank, "device_bank");
        device_bank->bank->update();
    });
}

vtr_status vtr_device_bank_follow(vtr_device_bank* device_bank, const vtr_bank* bank) {
    return guarded([&] {
        require(device_bank, "device_bank");
        require(bank, "bank");
        device_bank->bank->follow(bank->bank);
    });
}

size_t vtr_device_bank_count(const vtr_device_bank* device_bank) {
    return device_bank ? device_bank->bank->count() : 0;
}

size_t vtr_device_bank_bytes(const vtr_device_bank* device_bank) {
    return device_bank ? device_bank->bank->bytes() : 0;
}

const char* vtr_device_bank_target(const vtr_device_bank* device_bank) {
    return device_bank ? device_bank->bank->target().c_str() : nullptr;
}

void vtr_device_bank_free(vtr_device_bank* device_bank) { delete device_bank; }

vtr_status vtr_device_search(vtr_device_bank* device_bank, size_t texts, const float* sentence, const float* words,
                             const vtr_search_options* options, int64_t* ids, float* scores, size_t* found) {
    return guarded([&] {
        require(device_bank, "device_bank");
        const SearchOptions wanted = search_options(options);
        require(ids, "ids");
        require(scores, "scores");
        cuda::DeviceBank& bank = *device_bank->bank;
        bank.search(texts_of(*bank.scorer, texts, sentence, words, wanted.pool), wanted, ids, scores, found);
    });
}
