// The formulas against tables that real DeepSpeed optimizers produced (tests/data/zero/make_partition_tables.py).
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "support/test_data.h"
#include "zero/partition.h"

namespace ckptfs::zero {
namespace {

using nlohmann::json;

json tables() {
    std::ifstream stream(test_data() / "zero/partition_tables.json");
    return json::parse(stream);
}

struct Group {
    std::vector<std::string> names;  // in optimizer order
    FlatLayout layout;
};

Group lay_out(const json& table, const json& parameters) {
    Group group;
    std::vector<std::uint64_t> numels;
    for (const json& parameter : parameters) {
        std::uint64_t numel = 1;
        for (const json& extent : parameter[1]) {
            numel *= extent.get<std::uint64_t>();
        }
        if (numel > 0) {  // DeepSpeed leaves empty parameters out of its groups
            group.names.push_back(parameter[0]);
            numels.push_back(numel);
        }
    }
    FlatRules rules;
    if (!table["bf16_optimizer"].get<bool>()) {
        rules.round_robin = table["round_robin"];
        rules.alignment_numel = table["alignment"].get<bool>() ? alignment_numel(table["dtype"] == "fp32" ? 4 : 2) : 1;
    }
    group.layout = flat_layout(numels, table["world_size"].get<std::uint64_t>(), rules).value();
    return group;
}

TEST(PartitionTables, AgreeWithDeepSpeed) {
    const json all = tables();
    ASSERT_GT(all.size(), 100U);
    for (const json& table : all) {
        SCOPED_TRACE(table.dump().substr(0, 400));
        const json& expected = table["expected"];
        const bool bf16_optimizer = table["bf16_optimizer"];
        for (std::size_t g = 0; g < table["groups"].size(); ++g) {
            const Group group = lay_out(table, table["groups"][g]);
            json order = json::array();
            for (const Slot& slot : group.layout.slots) {
                order.push_back(group.names[slot.parameter]);
            }
            EXPECT_EQ(order, expected["order"][g]);
            EXPECT_EQ(group.layout.partition_numel, expected["partition_numel"][g].get<std::uint64_t>());
            if (!bf16_optimizer) {
                EXPECT_EQ(json(group.layout.alignment_after), expected["param_alignment_paddings"][g]);
            }
            for (std::uint64_t rank = 0; rank < group.layout.world_size; ++rank) {
                const std::uint64_t padding = bf16_optimizer ? group_padding_bf16_optimizer(group.layout, rank)
                                                             : group_padding(group.layout, rank);
                EXPECT_EQ(padding, expected["group_paddings"][rank][g].get<std::uint64_t>());
                const std::uint64_t master =
                    bf16_optimizer ? group.layout.partition_numel : group.layout.used_numel(rank);
                EXPECT_EQ(master, expected["master_numel"][rank][g].get<std::uint64_t>());
            }
        }
        for (std::uint64_t rank = 0; rank < table["world_size"].get<std::uint64_t>(); ++rank) {
            json mapping = json::object();
            for (const json& parameters : table["groups"]) {
                const Group group = lay_out(table, parameters);
                for (const Fragment& fragment : slice_mapping(group.layout, rank)) {
                    mapping[group.names[fragment.parameter]] = {fragment.start_numel, fragment.numel};
                }
            }
            json merged = json::object();
            for (const json& part : expected["slice_mappings"][rank].is_array()
                                        ? expected["slice_mappings"][rank]
                                        : json::array({expected["slice_mappings"][rank]})) {
                merged.update(part);
            }
            EXPECT_EQ(mapping, merged);
        }
    }
}

}  // namespace
}  // namespace ckptfs::zero
