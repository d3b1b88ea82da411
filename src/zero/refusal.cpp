// The list itself, and the page that is generated from it.
#include "zero/refusal.h"

#include <array>
#include <string>

namespace ckptfs::zero {
namespace {

constexpr std::array refusal_entries{
    RefusalEntry{Refusal::mixture_of_experts, "mixture of experts",
                 "expert files (`layer_*_expert_*`, `expp_rank_*`), parameter groups with `moe: True`, or automatic "
                 "expert parallelism",
                 "resume at the world size that wrote it"},
    RefusalEntry{Refusal::not_element_wise, "optimizer state that is not element-wise",
                 "a state tensor whose shape is neither the partition's nor a single element: block-quantised (8-bit) "
                 "states, or factored ones (Adafactor has none under ZeRO, whose partitions are vectors)",
                 "resume at the world size that wrote it, or train with an element-wise optimizer"},
    RefusalEntry{Refusal::one_bit_optimizer, "1-bit optimizer",
                 "error-feedback buffers `worker_error` and `server_error` among the states",
                 "resume at the world size that wrote it; the buffers belong to ranks, not to parameters"},
    RefusalEntry{Refusal::nvme_offload, "optimizer state swapped to NVMe",
                 "a directory `offloaded_tensors`, or `offload_optimizer.device: nvme` in the stored config",
                 "save with offload_optimizer.device cpu: the swapped state is not in the checkpoint's files"},
    RefusalEntry{Refusal::partial_offload, "partly offloaded optimizer state",
                 "sub-groups of one parameter group of which some have optimizer states and some have none: with "
                 "`offload_optimizer.ratio` below 1, DeepSpeed saves no states of those on the GPU",
                 "resume at the world size that wrote it, and save with offload_optimizer.ratio 1"},
    RefusalEntry{Refusal::mics, "MiCS",
                 "`partition_count` below `dp_world_size` at stage 3: each group of ranks holds the whole model",
                 "resume at the world size that wrote it, and save without mics_shard_size"},
    RefusalEntry{Refusal::quantized_weights, "quantisation of frozen weights",
                 "`zero_quantized_nontrainable_weights: true` in the stored config",
                 "resume at the world size that wrote it, and save without that setting"},
    RefusalEntry{Refusal::rank_values, "value that belongs to a rank",
                 "numbers that the optimizer keeps in `param_groups` or in states of one element, that no config sets, "
                 "and that differ between data-parallel ranks (`d` of Prodigy and D-Adaptation)",
                 "resume at the world size that wrote it, or give those of rank R to all ranks with "
                 "--rank-values-of=R"},
    RefusalEntry{Refusal::legacy_container, "legacy container",
                 "a `.pt` file that is not a zip archive: written by torch before 1.6, with "
                 "checkpoint.checkpoint_serialization false, or by another checkpoint engine (DataStates: 8 bytes of "
                 "size, then a JSON header)",
                 "load it with what saved it, and save it again with torch.save's default format"},
    RefusalEntry{Refusal::deflated_container, "compressed container", "a deflated or encrypted member in a `.pt` file",
                 "write the archive again without compression (torch.save never compresses)"},
};

}  // namespace

std::span<const RefusalEntry> refusals() {
    return refusal_entries;
}

Error refuse(Refusal id, std::string_view path, std::string_view found) {
    for (const RefusalEntry& entry : refusal_entries) {
        if (entry.id == id) {
            return {ErrorCode::unsupported, std::string(path) + ": " + std::string(entry.name) + " is not supported (" +
                                                std::string(found) + "); " + std::string(entry.instead)};
        }
    }
    return {ErrorCode::internal, "a refusal without an entry"};
}

std::string support_markdown() {
    std::string page =
        "# What is supported\n\n"
        "<!-- Generated from src/zero/refusal.cpp; a test compares. -->\n\n"
        "ckptfs shows checkpoints that DeepSpeed wrote under ZeRO stage 1, 2 or 3 (the ZeRO-1/2 optimizer and "
        "BF16_Optimizer, plain and\n"
        "elastic, and the stage-3 optimizer; fp32, fp16 and bf16; any optimizer whose states are element-wise, and "
        "Muon) "
        "at any world size\n"
        "from 1 to 1,048,576.\n"
        "Stage 0 (without experts) passes through: nothing in it depends on the world size.\n"
        "Tensor and pipeline parallelism are kept at the degrees that wrote the checkpoint: each model-parallel rank's "
        "files are re-cut over its\n"
        "data-parallel ranks, and a world size that the degree does not divide is an error. Another degree cannot be "
        "shown.\n\n"
        "What cannot be re-cut is refused by name. The list is closed: any other refusal is a bug.\n\n"
        "| layout | recognised by | instead |\n| --- | --- | --- |\n";
    for (const RefusalEntry& entry : refusal_entries) {
        page += "| " + std::string(entry.name) + " | " + std::string(entry.recognised) + " | " +
                std::string(entry.instead) + " |\n";
    }
    page +=
        "\nDamaged, incomplete and inconsistent sources are no layouts: their errors name the file, what was expected "
        "and what was found\n"
        "(see the exit codes in [cli.md](cli.md)).\n";
    return page;
}

}  // namespace ckptfs::zero
