// What reading a tag, building a re-cut file and reading through its pieces cost, on the bundled sample.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <vector>

#include "io/posix_source.h"
#include "model/conversion.h"
#include "view/world_size_kind.h"
#include "zero/reader.h"

namespace {

using namespace ckptfs;

template <class T>
T expect(Result<T> result) {
    if (!result) {
        std::cerr << result.error().message() << '\n';
        std::exit(1);
    }
    return std::move(result).value();
}

const std::shared_ptr<const io::DirectorySource>& sample() {
    static const auto source = expect(io::DirectorySource::open_directory(std::string(CKPTFS_SAMPLE)));
    return source;
}

std::shared_ptr<const zero::Written> checkpoint() {
    return expect(zero::read_checkpoint(*sample(), "global_step3"));
}

void read_tag(benchmark::State& state) {
    for (auto _ : state) {
        benchmark::DoNotOptimize(checkpoint());
    }
}
BENCHMARK(read_tag);

void build_shard(benchmark::State& state) {
    const auto source = checkpoint();
    for (auto _ : state) {
        const auto view = expect(view::world_size_view(source, static_cast<std::uint64_t>(state.range(0)), {}));
        benchmark::DoNotOptimize(expect(view->open(1)));
    }
}
BENCHMARK(build_shard)->Arg(3)->Arg(64)->Arg(1024);

void read_shard(benchmark::State& state) {
    const auto view = expect(view::world_size_view(checkpoint(), static_cast<std::uint64_t>(state.range(0)), {}));
    const auto file = expect(view->open(1));
    std::vector<std::byte> bytes(file->size());
    for (auto _ : state) {
        if (!file->read(0, bytes).ok()) {
            state.SkipWithError("the sample cannot be read");
        }
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(bytes.size()));
}
BENCHMARK(read_shard)->Arg(4)->Arg(3);

/// Of 128 KiB that lie in the cache, as ConvertedFile converts them; copy_block is what to compare with.
void convert_block(benchmark::State& state) {
    const auto from = static_cast<model::DType>(state.range(0));
    const auto to = static_cast<model::DType>(state.range(1));
    std::vector<std::byte> in(std::size_t{128} << 10U, std::byte{0x3c});
    std::vector<std::byte> out(in.size() / model::itemsize(from) * model::itemsize(to));
    for (auto _ : state) {
        model::convert(from, in, to, out);
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(in.size()));
    state.SetLabel(std::string(model::name(from)) + " to " + std::string(model::name(to)));
}

void each_conversion(benchmark::internal::Benchmark* benchmark) {
    for (const auto from : {model::DType::float32, model::DType::bfloat16, model::DType::float16}) {
        for (const auto to : {model::DType::float32, model::DType::bfloat16, model::DType::float16}) {
            if (from != to) {
                benchmark->Args({static_cast<std::int64_t>(from), static_cast<std::int64_t>(to)});
            }
        }
    }
}
BENCHMARK(convert_block)->Apply(each_conversion);

void copy_block(benchmark::State& state) {
    const std::vector<std::byte> in(std::size_t{128} << 10U, std::byte{0x3c});
    std::vector<std::byte> out(in.size());
    for (auto _ : state) {
        std::memcpy(out.data(), in.data(), in.size());
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(in.size()));
}
BENCHMARK(copy_block);

}  // namespace

BENCHMARK_MAIN();
