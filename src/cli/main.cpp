// The program ckptfs: hands the command line to run().
#include <iostream>
#include <string>
#include <vector>

#include "cli/environment.h"
#include "cli/exit_code.h"
#include "cli/run.h"
#include "util/standard_streams.h"

int main(int argc, char** argv) {
    ckptfs::occupy_standard_streams();
    auto environment = ckptfs::cli::real_environment();
    if (!environment) {
        std::cerr << "ckptfs: " << environment.error().message() << '\n';
        return ckptfs::cli::status_of(ckptfs::cli::exit_code_of(environment.error().code()));
    }
    return ckptfs::cli::run(std::vector<std::string>(argv + 1, argv + argc), *environment);
}
