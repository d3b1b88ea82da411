// The program ckptfs: hands the command line to run().
#include <filesystem>
#include <string>
#include <vector>

#include "cli/run.h"
#include "program/real_environment.h"
#include "util/standard_streams.h"

int main(int argc, char** argv) {
    ckptfs::occupy_standard_streams();
    const auto environment = ckptfs::real_environment();
    std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
    // mount(8) calls a link of this name.
    if (argc > 0 && std::filesystem::path(argv[0]).filename() == "mount.ckptfs") {
        arguments.insert(arguments.begin(), "mount.ckptfs");
    }
    return ckptfs::cli::run(arguments, environment);
}
