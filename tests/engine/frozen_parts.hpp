// A frozen bank taken apart, so that tests can put it together again with something wrong in it.
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "crc32.hpp"
#include "frozen.hpp"

namespace vtr::test {

struct FrozenParts {
    std::map<std::string, std::string> metadata;
    std::vector<TensorEntry> entries;  // without padding and checksums
    std::map<std::string, std::string> bytes;

    explicit FrozenParts(const std::string& file) {
        const SafetensorsHeader header = read_header(std::as_bytes(std::span(file)));
        metadata = header.metadata;
        for (const TensorEntry& entry : header.tensors) {
            if (SafetensorsHeader::is_padding(entry.name) || entry.name.starts_with(frozen::SUMS)) continue;
            entries.push_back(entry);
            bytes[entry.name] = file.substr(entry.begin, entry.bytes);
        }
    }

    TensorEntry& entry(const std::string& name) {
        for (TensorEntry& each : entries)
            if (each.name == name) return each;
        throw std::out_of_range(name);
    }

    void remove(const std::string& name) {
        std::erase_if(entries, [&name](const TensorEntry& each) { return each.name == name; });
    }

    void add(const std::string& name, const std::string& dtype, std::vector<int64_t> shape, std::string contents) {
        entries.push_back({.name = name, .dtype = dtype, .shape = std::move(shape)});
        bytes[name] = std::move(contents);
    }

    template <class T>
    void set(const std::string& name, size_t index, T value) {
        std::memcpy(bytes[name].data() + index * sizeof value, &value, sizeof value);
    }

    // The file, with the checksums that its contents have.
    std::string file() const {
        std::vector<TensorEntry> plan = entries;
        std::map<std::string, std::string> all = bytes;
        for (const TensorEntry& each : entries) {
            plan.push_back(frozen::sums_entry(each));
            const std::string& contents = bytes.at(each.name);
            for (size_t begin = 0; begin < contents.size(); begin += frozen::BLOCK) {
                const uint32_t sum =
                    crc32(contents.data() + begin, std::min(frozen::BLOCK, contents.size() - begin));
                all[plan.back().name].append(reinterpret_cast<const char*>(&sum), sizeof sum);
            }
        }
        plan.push_back(frozen::header_sum_entry());
        std::string file = make_header(metadata, plan);
        const uint32_t sum = crc32(file.data(), file.size());
        all[plan.back().name].assign(reinterpret_cast<const char*>(&sum), sizeof sum);
        for (const TensorEntry& each : plan) {
            file.resize(each.begin);
            file += all[each.name];
        }
        return file;
    }
};

}  // namespace vtr::test
