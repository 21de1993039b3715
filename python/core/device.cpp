// GPUs in Python: the device, and copies of banks in its memory.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <unistd.h>

#include "paths.hpp"
#include "texts.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace vtr::python {
namespace {

struct Device {
    std::shared_ptr<vtr_device> handle;

    vtr_device_info info() const {
        vtr_device_info info{};
        info.size = sizeof info;
        run([&] { return vtr_device_describe(handle.get(), &info); });
        return info;
    }
};

struct DeviceBank {
    std::shared_ptr<vtr_device_bank> handle;
    Model model;  // of the bank that it was made of, whatever bank is followed later
};

// A forked process must not speak to the driver: what its parent had stays the parent's.
template <class Handle>
std::shared_ptr<Handle> owned_here(Handle* handle, void (*give_back)(Handle*)) {
    return {handle, [owner = getpid(), give_back](Handle* unused) {
                if (getpid() == owner) give_back(unused);
            }};
}

Device open_device(int32_t ordinal) {
    vtr_device* device = nullptr;
    run([&] { return vtr_device_open(ordinal, &device); });
    return {owned_here(device, vtr_device_free)};
}

DeviceBank make_device_bank(const Device& device, const Bank& bank, nb::handle kernels, uint64_t slab_bytes) {
    const std::string folder = system_path(kernels);
    const vtr_device_bank_options options{.size = sizeof options, .slab_bytes = slab_bytes};
    vtr_device_bank* made = nullptr;
    run([&] {
        return vtr_device_bank_create(device.handle.get(), bank.handle.get(), folder.c_str(), &options, &made);
    });
    return {owned_here(made, vtr_device_bank_free), {{bank.handle, vtr_bank_model(bank.handle.get())}}};
}

void update(const DeviceBank& bank) {
    run([&] { return vtr_device_bank_update(bank.handle.get()); });
}

void follow(const DeviceBank& bank, const Bank& other) {
    run([&] { return vtr_device_bank_follow(bank.handle.get(), other.handle.get()); });
}

nb::tuple search(const DeviceBank& bank, nb::handle sentence, nb::handle words, size_t k, nb::handle only,
                 const Pools& pool) {
    const TextArrays texts(bank.model.options(), sentence, words);
    const Choice choice(only);
    vtr_search_options options{};
    options.size = sizeof options;
    options.k = k;
    options.pool = pool_of(pool);
    choice.give_to(options);
    return answers(size_t(texts.count), k, [&](int64_t* ids, float* scores, size_t* found) {
        return vtr_device_search(bank.handle.get(), size_t(texts.count), texts.sentences, texts.words, &options,
                                 ids, scores, found);
    });
}

}  // namespace

void add_device_classes(nb::module_& m) {
    nb::class_<Device>(m, "Device", "The GPU of a number, by NVIDIA's driver, which is looked for now.")
        .def("__init__", constructor(open_device), "ordinal"_a = 0)
        .def_prop_ro("name", [](const Device& device) { return std::string(device.info().name); })
        .def_prop_ro("capability",
                     [](const Device& device) {
                         const vtr_device_info info = device.info();
                         return std::pair(info.major, info.minor);
                     })
        .def_prop_ro("memory", [](const Device& device) {
            const vtr_device_info info = device.info();
            return std::pair(info.free_bytes, info.total_bytes);
        });

    nb::class_<DeviceBank>(m, "DeviceBank",
                           "A copy of a bank in a GPU's memory, searched with the kernels of a bundle.")
        .def("__init__", constructor(make_device_bank), "device"_a, "bank"_a, "kernels"_a, nb::kw_only(),
             "slab_bytes"_a = 0)
        .def("update", update, "Take over what was appended to the bank and removed from it.")
        .def("follow", follow, "bank"_a, "Take over a later clone of the bank, and copy that one from now on.")
        .def(
            "search", search, "sentence"_a, "words"_a.none(), "k"_a, nb::kw_only(), "only"_a = nb::none(),
            "pool"_a = nb::none(),
            "The k best of each text: ids [T, k], scores [T, k], how many there are [T]; the rest is -1 and -inf.")
        .def_prop_ro("target",
                     [](const DeviceBank& bank) { return std::string(vtr_device_bank_target(bank.handle.get())); })
        .def_prop_ro("nbytes", [](const DeviceBank& bank) { return vtr_device_bank_bytes(bank.handle.get()); })
        .def("__len__", [](const DeviceBank& bank) { return vtr_device_bank_count(bank.handle.get()); });
}

}  // namespace vtr::python
