// Finds and opens the module, and turns its C callbacks into Results.
#include "torch/torch_loader.h"

#include <dlfcn.h>

#include <array>
#include <cerrno>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>

#include "ckptfs/torch_module.h"

namespace ckptfs {
namespace {

constexpr const char* module_file_name = "ckptfs_torch.so";

/// The two ends of one read_all_records(): what libtorch reads from, what it gives to, and the first error on our side.
struct Exchange {
    const File& file;
    const TorchModule::ChunkVisitor& visit;
    std::optional<Error> error;
};

/// Runs `step` for a C caller: an error or exception is kept in `exchange` and becomes a number.
template <class Step>
int guarded(Exchange& exchange, Step step) noexcept {
    try {
        Result<void> result = step();
        if (result.ok()) {
            return 0;
        }
        exchange.error = result.error();
    } catch (const std::exception& failure) {
        exchange.error = Error(ErrorCode::internal, failure.what());
    }
    return 1;
}

int read_from_file(void* context, std::uint64_t offset, void* out, std::uint64_t nbytes) {
    Exchange& exchange = *static_cast<Exchange*>(context);
    return guarded(exchange, [&] { return exchange.file.read(offset, {static_cast<std::byte*>(out), nbytes}); });
}

int give_to_visitor(void* context, const char* name, std::uint64_t offset, std::uint64_t record_nbytes,
                    const void* bytes, std::uint64_t nbytes) {
    Exchange& exchange = *static_cast<Exchange*>(context);
    if (!exchange.visit) {
        return 0;
    }
    return guarded(exchange, [&] {
        return exchange.visit(name, offset, record_nbytes, {static_cast<const std::byte*>(bytes), nbytes});
    });
}

std::string dl_error() {
    const char* text = dlerror();  // NOLINT(concurrency-mt-unsafe): glibc keeps it per thread
    return text != nullptr ? text : "unknown error";
}

}  // namespace

std::vector<std::filesystem::path> TorchModule::default_directories() {
    std::vector<std::filesystem::path> directories;
    std::error_code failure;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", failure);
    if (!failure) {
        directories.push_back(program.parent_path());
        directories.push_back((program.parent_path() / CKPTFS_MODULE_FROM_PROGRAM).lexically_normal());
    }
#ifdef CKPTFS_MODULE_DIRECTORY
    directories.emplace_back(CKPTFS_MODULE_DIRECTORY);
#endif
    return directories;
}

Result<std::shared_ptr<const TorchModule>> TorchModule::load() {
    static std::mutex mutex;
    static std::shared_ptr<const TorchModule> instance;
    const std::lock_guard lock(mutex);
    if (!instance) {
        CKPTFS_ASSIGN(instance, load_from(default_directories()));
    }
    return instance;
}

Result<std::shared_ptr<const TorchModule>> TorchModule::load_from(
    const std::vector<std::filesystem::path>& directories) {
    std::string searched;
    for (const std::filesystem::path& directory : directories) {
        const std::filesystem::path path = directory / module_file_name;
        std::error_code failure;
        if (!std::filesystem::exists(path, failure)) {
            searched += (searched.empty() ? "'" : ", '") + directory.string() + "'";
            continue;
        }
        // Never closed: libtorch does not survive being unloaded.
        void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) {
            return Error(ErrorCode::not_found, "the libtorch module cannot be loaded: " + dl_error() +
                                                   "; have the libtorch that ckptfs was built with at its place, or in "
                                                   "LD_LIBRARY_PATH");
        }
        void* symbol = dlsym(handle, "ckptfs_torch_module");
        if (symbol == nullptr) {
            return Error(ErrorCode::internal, "'" + path.string() + "' is not a ckptfs module: " + dl_error());
        }
        return of(*reinterpret_cast<decltype(&ckptfs_torch_module)>(symbol)(), "'" + path.string() + "'");
    }
    return Error(ErrorCode::not_found,
                 std::string("the libtorch module '") + module_file_name + "' is not in " + searched +
                     ": it is built where CMake finds libtorch (Debian's libtorch-dev, a Python with torch, or "
                     "-DTorch_ROOT=DIR) and installed with the program (cmake --install)");
}

Result<std::shared_ptr<const TorchModule>> TorchModule::of(const CkptfsTorchModule& module, const std::string& name) {
    if (module.interface_version != CKPTFS_TORCH_INTERFACE_VERSION) {
        return Error(ErrorCode::internal, name + " belongs to another version of ckptfs");
    }
    return std::shared_ptr<const TorchModule>(new TorchModule(&module));
}

std::string_view TorchModule::torch_version() const {
    return module_->torch_version;
}

Result<void> TorchModule::read_all_records(const File& file, const ChunkVisitor& visit) const {
    Exchange exchange{file, visit, std::nullopt};
    const CkptfsTorchFile input{&exchange, file.size(), &read_from_file};
    const CkptfsTorchSink sink{&exchange, &give_to_visitor};
    std::array<char, 1024> message{};
    const int outcome = module_->read_all_records(&input, &sink, message.data(), message.size());
    if (outcome == CKPTFS_TORCH_READ) {
        return {};
    }
    if (exchange.error) {
        return *std::move(exchange.error);
    }
    if (outcome == CKPTFS_TORCH_UNUSABLE) {
        return Error(ErrorCode::io, "'" + file.name() + "' cannot be read a second time: " + message.data(), ENOENT);
    }
    return Error(ErrorCode::damaged, "'" + file.name() + "' is refused by libtorch: " + message.data());
}

}  // namespace ckptfs
