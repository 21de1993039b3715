// Which instruction sets this processor runs, and the table of kernels of each.
#include <cstring>
#include <initializer_list>
#include <vector>

#include "kernels/kernels.hpp"

#if defined(VTR_X86)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace vtr {
namespace {

#if defined(VTR_X86)

struct Processor {  // what it has and the operating system lets programs use
    bool avx2 = false, avx512 = false, amx = false;
};

bool all(uint64_t word, std::initializer_list<int> bits) {
    for (const int bit : bits)
        if (!(word >> bit & 1)) return false;
    return true;
}

// The register states that the operating system saves when it changes threads.
uint64_t saved_states() {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return static_cast<uint64_t>(high) << 32 | low;
}

// Linux makes room for tile registers (8 KB a thread) only for processes that ask; it may refuse.
bool tiles_granted() {
#if defined(__linux__)
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

Processor detect() {
    Processor found;
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return found;
    const bool avx = all(ecx, {12, 27, 28, 29});  // FMA, XGETBV, AVX, F16C
    if (!avx || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return found;
    const bool avx2 = all(ebx, {5}), avx512 = all(ebx, {16, 17, 30, 31});  // F, DQ, BW, VL
    const bool tiles = all(edx, {22, 24});                                 // AMX-BF16, AMX-TILE
    const bool bf16 = __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && all(eax, {5});
    const uint64_t states = saved_states();
    found.avx2 = avx2 && all(states, {1, 2});
    found.avx512 = found.avx2 && avx512 && all(states, {5, 6, 7});
    found.amx = found.avx512 && bf16 && tiles && all(states, {17, 18}) && tiles_granted();
    return found;
}

#endif

// A macro because namespaces are no arguments of functions.
#define VTR_TABLE(isa) \
    Kernels { #isa, isa::product, isa::xclip_scratch, isa::xclip, isa::tcmgc_scratch, isa::tcmgc_pool, isa::tcmgc }

std::vector<Kernels> tables() {
    std::vector<Kernels> found;
#if defined(VTR_X86)
    const Processor processor = detect();
    if (processor.amx) found.push_back(VTR_TABLE(amx));
    if (processor.avx512) found.push_back(VTR_TABLE(avx512));
    if (processor.avx2) found.push_back(VTR_TABLE(avx2));
#endif
    found.push_back(VTR_TABLE(portable));
    return found;
}

const std::vector<Kernels>& available() {  // asked once, at the first call
    static const std::vector<Kernels> found = tables();
    return found;
}

}  // namespace

const Kernels* find_kernels(const char* name) {
    if (name == nullptr || std::strcmp(name, "auto") == 0) return &available().front();
    for (const Kernels& kernels : available())
        if (std::strcmp(kernels.name, name) == 0) return &kernels;
    return nullptr;
}

const char* kernel_name(size_t index) { return index < available().size() ? available()[index].name : nullptr; }

}  // namespace vtr
