// The module ckptfs_torch: PyTorch's own reader behind the C interface. The only file of the product that knows
// libtorch.
#include "ckptfs/torch_module.h"

#include <c10/util/Exception.h>
#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/read_adapter_interface.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using caffe2::serialize::PyTorchStreamReader;

/// Larger records are streamed in chunks of this size.
constexpr std::uint64_t chunk_nbytes = std::uint64_t{1} << 20U;

/// The caller's file as libtorch wants it. A failed read is answered with a short count, since an exception would have
/// to pass through libtorch's C code.
class CallbackReader final : public caffe2::serialize::ReadAdapterInterface {
 public:
    explicit CallbackReader(const CkptfsTorchFile& file) : file_(file) {}

    [[nodiscard]] std::size_t size() const override { return file_.nbytes; }

    std::size_t read(std::uint64_t pos, void* buf, std::size_t n, const char* /*what*/) const override {
        if (pos > file_.nbytes) {
            return 0;
        }
        const std::uint64_t wanted = std::min<std::uint64_t>(n, file_.nbytes - pos);
        return file_.read(file_.context, pos, buf, wanted) == 0 ? wanted : 0;
    }

 private:
    CkptfsTorchFile file_;
};

void give(const CkptfsTorchSink& sink, const std::string& name, std::uint64_t offset, std::uint64_t record_nbytes,
          const void* bytes, std::uint64_t nbytes) {
    if (sink.chunk(sink.context, name.c_str(), offset, record_nbytes, bytes, nbytes) != 0) {
        throw std::runtime_error("stopped at record '" + name + "'");
    }
}

/// A record in chunks, each read when the last one has been given. Returns false if it is small enough for getRecord,
/// or libtorch too old to stream; a template, so that the latter compiles.
template <class Reader>
bool stream_record([[maybe_unused]] Reader& reader, [[maybe_unused]] const CkptfsTorchSink& sink,
                   [[maybe_unused]] const std::string& name) {
    if constexpr (requires { reader.createChunkReaderIter(name, reader.getRecordSize(name), chunk_nbytes); }) {
        const std::uint64_t nbytes = reader.getRecordSize(name);
        if (nbytes <= chunk_nbytes) {
            return false;
        }
        std::vector<char> buffer(chunk_nbytes);
        auto chunks = reader.createChunkReaderIter(name, nbytes, chunk_nbytes);
        for (std::uint64_t done = 0; done < nbytes;) {
            const std::size_t count = chunks.next(buffer.data());
            if (count == 0) {
                throw std::runtime_error("record '" + name + "' ends after " + std::to_string(done) + " bytes");
            }
            give(sink, name, done, nbytes, buffer.data(), count);
            done += count;
        }
        return true;
    } else {
        return false;
    }
}

void read_records(const CkptfsTorchFile& input, const CkptfsTorchSink& sink) {
    PyTorchStreamReader reader(std::make_shared<CallbackReader>(input));
    for (const std::string& name : reader.getAllRecords()) {
        if (stream_record(reader, sink, name)) {
            continue;
        }
        const auto [data, nbytes] = reader.getRecord(name);
        give(sink, name, 0, nbytes, data.get(), nbytes);
    }
}

void write_error(const char* message, char* error, std::size_t error_nbytes) {
    if (error_nbytes == 0) {
        return;
    }
    const std::size_t length = std::min(std::strlen(message), error_nbytes - 1);
    std::memcpy(error, message, length);
    error[length] = '\0';
}

int read_all_records(const CkptfsTorchFile* file, const CkptfsTorchSink* sink, char* error, std::size_t error_nbytes) {
    try {
        read_records(*file, *sink);
        return CKPTFS_TORCH_READ;
    } catch (const std::bad_alloc&) {
        write_error("no memory is left", error, error_nbytes);
        return CKPTFS_TORCH_UNUSABLE;
    } catch (const c10::Error& failure) {
        write_error(failure.what_without_backtrace(), error, error_nbytes);
    } catch (const std::exception& failure) {
        write_error(failure.what(), error, error_nbytes);
    }
    return CKPTFS_TORCH_REFUSED;
}

constexpr CkptfsTorchModule module{CKPTFS_TORCH_INTERFACE_VERSION, CKPTFS_TORCH_VERSION, &read_all_records};

}  // namespace

const CkptfsTorchModule* ckptfs_torch_module() {
    return &module;
}
