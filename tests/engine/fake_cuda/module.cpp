// The stand-in's calls about modules and kernels.
#include <elf.h>

#include <sstream>

#include "world.hpp"

using namespace fake_cuda;

namespace {

// "D=16" among the words of a text
Constants constants_of(const char* text) {
    Constants constants;
    std::istringstream words(text);
    for (std::string word; words >> word;)
        if (const size_t sign = word.find('='); sign != word.npos)
            constants[word.substr(0, sign)] = std::stoll(word.substr(sign + 1));
    return constants;
}

void run_kernel(const std::string& symbol, const Launch& launch) {
    World& w = world();
    ++w.launches[symbol];
    const auto failing = w.failing_kernels.find(symbol);
    if (failing != w.failing_kernels.end()) {
        w.lost = failing->second;
        w.failing_kernels.erase(failing);
        return;
    }
    w.kernels.at(symbol).function(launch);
}

}  // namespace

extern "C" {

// An image is an ELF header with "sm_90" or so after it, or text that begins with ".version": PTX. Numbers that
// are compiled into its kernels come next, as "D=16 K=4".
Result cuModuleLoadData(ModuleHandle* module, const void* image) {
    return unsafe_call("cuModuleLoadData", [&](World& w) {
        const char* text = static_cast<const char*>(image);
        if (std::strncmp(text, ".version", 8) != 0) {
            if (std::memcmp(text, ELFMAG, SELFMAG) != 0) return INVALID_IMAGE;
            text += sizeof(Elf64_Ehdr);
            int number = 0;
            for (const char* digit = text + 3; *digit >= '0' && *digit <= '9'; ++digit)
                number = 10 * number + *digit - '0';
            if (number / 10 != w.machine.major || number % 10 > w.machine.minor) return NO_BINARY_FOR_GPU;
        }
        w.modules.insert(*module = new ModuleTag{constants_of(text), {}});
        return SUCCESS;
    });
}

Result cuModuleUnload(ModuleHandle module) { return give_back("cuModuleUnload", world().modules, module); }

Result cuModuleGetFunction(FunctionHandle* function, ModuleHandle module, const char* name) {
    return call("cuModuleGetFunction", Needs::sound, [&](World& w) {
        const auto kernel = w.kernels.find(name);
        if (kernel == w.kernels.end()) return NOT_FOUND;
        auto made =
            std::make_unique<FunctionTag>(FunctionTag{name, module->constants, kernel->second.argument_bytes});
        *function = made.get();
        module->functions.insert(std::move(made));
        return SUCCESS;
    });
}

Result cuFuncSetAttribute(FunctionHandle function, FunctionAttribute attribute, int value) {
    return call("cuFuncSetAttribute", Needs::sound, [&](World& w) {
        if (attribute != MAX_DYNAMIC_SHARED_MEMORY || value < 0 || value > w.machine.shared) return INVALID_VALUE;
        function->shared = static_cast<size_t>(value);
        return SUCCESS;
    });
}

Result cuLaunchKernel(FunctionHandle function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared, StreamHandle stream, void** arguments,
                      void**) {
    return call("cuLaunchKernel", Needs::sound, [&](World& w) {
        if (grid_x == 0 || grid_y == 0 || grid_z == 0 || block_x == 0 || block_y != 1 || block_z != 1)
            return misuse("a launch of nothing");
        if (shared > function->shared) return misuse("more shared memory than was asked for");
        Launch launch{{grid_x, grid_y, grid_z}, block_x, shared, {}, function->constants};
        for (size_t i = 0; i < function->argument_bytes.size(); ++i) {
            const auto* first = static_cast<const std::byte*>(arguments[i]);
            launch.arguments.emplace_back(first, first + function->argument_bytes[i]);
        }
        const std::string& symbol = function->symbol;
        return put(w, stream, [symbol, launch] { run_kernel(symbol, launch); });
    });
}

}  // extern "C"
