// A command line of the program, run within another program.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <ostream>
#include <streambuf>
#include <string>
#include <utility>
#include <vector>

#include "c/failure.h"
#include "c/interruption.h"
#include "ckptfs/ckptfs.h"
#include "cli/environment.h"
#include "cli/exit_code.h"
#include "cli/run.h"
#include "io/posix_source.h"
#include "util/text.h"

namespace ckptfs::c {
namespace {

/// Hands what is written to a function.
class CallbackBuffer final : public std::streambuf {
 public:
    CallbackBuffer(int (*take)(void* context, const char* bytes, size_t nbytes), void* context)
        : take_(take), context_(context) {
        setp(buffer_.data(), buffer_.data() + buffer_.size());
    }

 protected:
    int_type overflow(int_type character) override {
        if (sync() != 0) {
            return traits_type::eof();
        }
        if (!traits_type::eq_int_type(character, traits_type::eof())) {
            sputc(traits_type::to_char_type(character));
        }
        return traits_type::not_eof(character);
    }

    std::streamsize xsputn(const char* bytes, std::streamsize count) override {
        if (count <= epptr() - pptr()) {
            return std::streambuf::xsputn(bytes, count);
        }
        return sync() == 0 && give(bytes, static_cast<std::size_t>(count)) ? count : 0;
    }

    int sync() override {
        const bool given = give(pbase(), static_cast<std::size_t>(pptr() - pbase()));
        setp(buffer_.data(), buffer_.data() + buffer_.size());
        return given ? 0 : -1;
    }

 private:
    [[nodiscard]] bool give(const char* bytes, std::size_t nbytes) const {
        return nbytes == 0 || take_ == nullptr || take_(context_, bytes, nbytes) == 0;
    }

    int (*take_)(void* context, const char* bytes, size_t nbytes);
    void* context_;
    std::array<char, 1024> buffer_{};
};

Result<void> run(const std::vector<std::string>& words, const ckptfs_streams& streams, const CkptfsTorchModule* reader,
                 int& status) {
    CallbackBuffer out_buffer(streams.out, streams.context);
    CallbackBuffer error_buffer(streams.error, streams.context);
    std::ostream out(&out_buffer);
    std::ostream error(&error_buffer);
    cli::Environment environment = cli::environment_without_mounts(out, error);
    environment.streams_are_one = streams.streams_are_one != 0;
    const auto interruption = std::make_shared<const Interruption>([&streams] {  // which outlives what is read here
        return streams.interrupted != nullptr && streams.interrupted(streams.context) != 0;
    });
    environment.interrupted = [interruption] { return interruption->is_wanted() ? SIGINT : 0; };
    environment.open_source = [interruption, directory = environment.working_directory](
                                  const std::string& path) -> Result<std::shared_ptr<const Source>> {
        CKPTFS_TRY(cli::absolute_path(path, directory));
        CKPTFS_ASSIGN(
            std::shared_ptr<const Source> source,
            io::DirectorySource::open_directory(path, std::make_shared<const InterruptibleCalls>(interruption)));
        return source;
    };
    if (reader != nullptr) {
        const auto module = TorchModule::of(*reader, "the reader that is to read views a second time");
        if (!module) {
            status = cli::status_of(cli::exit_code_of(module.error().code()));
            error << "ckptfs: " << printable(module.error().message()) << std::endl;
            return module.error();
        }
        environment.read_with_torch = [module = *module](const File& file, const TorchModule::ChunkVisitor& visit) {
            return module->read_all_records(file, visit);
        };
    }
    std::optional<Error> failed;
    status = cli::run(words, environment, &failed);
    error.flush();
    if (interruption->is_wanted() && status == cli::status_of(cli::ExitCode::verification)) {
        // What could not be read is no problem of the checkpoint.
        failed = Error(ErrorCode::io, "interrupted: what was found until then is no verdict", EINTR);
        status = cli::status_of(cli::ExitCode::io);
    }
    return failed ? Result<void>(std::move(*failed)) : Result<void>();
}

}  // namespace
}  // namespace ckptfs::c

int ckptfs_command(const char* const* words, size_t word_count, const ckptfs_streams* streams,
                   const struct CkptfsTorchModule* reader, ckptfs_failure* failure) {
    int status = ckptfs::cli::status_of(ckptfs::cli::ExitCode::internal);
    ckptfs::c::guarded(failure, [&] {
        const ckptfs_streams none{};
        return ckptfs::c::run({words, words + word_count}, streams != nullptr ? *streams : none, reader, status);
    });
    return status;
}
