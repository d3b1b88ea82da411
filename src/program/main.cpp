// The program ckptfs: hands the command line to run().
#include <string>
#include <vector>

#include "cli/run.h"
#include "program/real_environment.h"
#include "util/standard_streams.h"

int main(int argc, char** argv) {
    ckptfs::occupy_standard_streams();
    const auto environment = ckptfs::real_environment();
    return ckptfs::cli::run(std::vector<std::string>(argv + 1, argv + argc), environment);
}
