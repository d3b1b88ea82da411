// One bug for each sanitizer: planted_bug address|undefined|thread. The tests want it reported.
#include <limits>
#include <string_view>
#include <thread>
#include <vector>

namespace {

int read_past_the_end(std::size_t index) {
    const std::vector<int> values(4, 1);
    return values.data()[index];
}

int overflow(int number) {
    return std::numeric_limits<int>::max() + number;
}

int race() {
    int shared = 0;
    std::thread other([&] { ++shared; });
    ++shared;
    other.join();
    return shared;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view kind = argc == 2 ? argv[1] : "";
    const auto one = static_cast<std::size_t>(argc - 1);
    if (kind == "address") {
        return read_past_the_end(3 + one) & 1;
    }
    if (kind == "undefined") {
        return overflow(argc) & 1;
    }
    return kind == "thread" ? race() & 1 : 2;
}
