#include "cuda/cubin.hpp"

#include <elf.h>

#include <cstring>

#include "error.hpp"

namespace vtr::cuda {
namespace {

constexpr uint16_t MACHINE_CUDA = 190;  // EM_CUDA, which older headers lack

// `count` entries of `size` bytes at `offset`, without overflow.
bool inside(std::string_view code, uint64_t offset, uint64_t count, uint64_t size) {
    return offset <= code.size() && (size == 0 || count <= (code.size() - offset) / size);
}

template <class Entry>
Entry read(std::string_view code, uint64_t offset) {
    Entry entry;
    std::memcpy(&entry, code.data() + offset, sizeof entry);
    return entry;
}

bool whole(std::string_view code) {
    if (code.size() < sizeof(Elf64_Ehdr)) return false;
    const auto header = read<Elf64_Ehdr>(code, 0);
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != MACHINE_CUDA)
        return false;
    if (header.e_shnum > 0 && (header.e_shentsize != sizeof(Elf64_Shdr) ||
                               !inside(code, header.e_shoff, header.e_shnum, sizeof(Elf64_Shdr))))
        return false;
    if (header.e_phnum > 0 && (header.e_phentsize != sizeof(Elf64_Phdr) ||
                               !inside(code, header.e_phoff, header.e_phnum, sizeof(Elf64_Phdr))))
        return false;
    for (uint64_t i = 0; i < header.e_shnum; ++i) {
        const auto section = read<Elf64_Shdr>(code, header.e_shoff + i * sizeof(Elf64_Shdr));
        if (section.sh_type != SHT_NOBITS && !inside(code, section.sh_offset, section.sh_size, 1)) return false;
    }
    for (uint64_t i = 0; i < header.e_phnum; ++i) {
        const auto segment = read<Elf64_Phdr>(code, header.e_phoff + i * sizeof(Elf64_Phdr));
        if (!inside(code, segment.p_offset, segment.p_filesz, 1)) return false;
    }
    return true;
}

}  // namespace

void check_cubin(const std::string& path, std::string_view code) {
    if (!whole(code))
        throw Error(VTR_CORRUPT, path + ": not a whole cubin of " + std::to_string(code.size()) +
                                     " bytes: export the bundle again");
}

}  // namespace vtr::cuda
