// No caller gets more of the result than of each file, checked against the kernel's own rule for every caller there is.
#include "util/permissions.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <initializer_list>
#include <random>
#include <set>
#include <span>
#include <vector>

namespace ckptfs {
namespace permissions {
namespace {

struct Caller {
    std::uint32_t uid;
    std::set<std::uint32_t> gids;
};

/// acl_permission_check() of the kernel, without an ACL.
std::uint32_t bits_for(const Caller& caller, const Permissions& file) {
    if (caller.uid == file.uid) {
        return file.mode >> 6 & 7;
    }
    return (caller.gids.contains(file.gid) ? file.mode >> 3 : file.mode) & 7;
}

std::vector<Caller> callers() {
    std::vector<Caller> result;
    for (const std::uint32_t uid : {1U, 2U, 3U, 9U}) {
        for (unsigned groups = 0; groups < 8; ++groups) {
            Caller caller{uid, {}};
            for (const std::uint32_t gid : {1U, 2U, 3U}) {
                if ((groups >> (gid - 1) & 1U) != 0) {
                    caller.gids.insert(gid);
                }
            }
            result.push_back(caller);
        }
    }
    return result;
}

Permissions passage(std::uint32_t uid, std::uint32_t mode) {
    FileInfo directory;
    directory.uid = uid;
    directory.gid = uid;
    directory.mode = mode;
    return passage_through(directory);
}

TEST(CommonPermissions, GrantNobodyMoreThanEachFile) {
    std::mt19937 random(20240501);
    std::uniform_int_distribution<std::uint32_t> id(1, 3);
    std::uniform_int_distribution<std::uint32_t> mode(0, 0777);
    std::uniform_int_distribution<std::size_t> count(1, 4);
    int granted = 0;
    for (int round = 0; round < 20000; ++round) {
        std::vector<Permissions> files(count(random));
        for (Permissions& file : files) {
            file = {id(random), id(random), mode(random)};
        }
        const Permissions common = common_permissions(files);
        for (const Caller& caller : callers()) {
            const std::uint32_t got = bits_for(caller, common);
            granted += got != 0 ? 1 : 0;
            for (const Permissions& file : files) {
                ASSERT_EQ(got & ~bits_for(caller, file), 0U)
                    << "round " << round << ", uid " << caller.uid << " gets " << got << " of uid " << common.uid
                    << " gid " << common.gid << " mode " << std::oct << common.mode;
            }
        }
    }
    EXPECT_GT(granted, 100000) << "to grant nothing would be safe as well";
}

TEST(CommonPermissions, OfOneOwnerAndGroupAreTheCommonBits) {
    const std::vector<Permissions> files{{5, 6, 0644}, {5, 6, 0600}, {5, 6, 0444}};
    EXPECT_EQ(common_permissions(files), (Permissions{5, 6, 0400}));
}

TEST(CommonPermissions, KeepWhatAGroupSharesAcrossOwners) {
    const std::vector<Permissions> files{{1, 7, 0640}, {2, 7, 0640}};
    const Permissions common = common_permissions(files);
    EXPECT_EQ(common.gid, 7U);
    EXPECT_EQ(common.mode & 0040U, 0040U);
    for (const std::uint32_t uid : {1U, 2U, 3U}) {
        EXPECT_EQ(bits_for({uid, {7}}, common) & 4U, 4U) << uid;
    }
}

TEST(CommonPermissions, KeepAnOwnersOwnFilesThroughOpenDirectories) {
    const std::vector<Permissions> open{{5, 5, 0600}, passage(0, 0755)};
    EXPECT_EQ(common_permissions(open), (Permissions{5, 5, 0600}));
    const std::vector<Permissions> closed{{5, 5, 0644}, passage(0, 0700)};
    for (const std::uint32_t uid : {5U, 6U}) {
        EXPECT_EQ(bits_for({uid, {5}}, common_permissions(closed)), 0U) << "none but root searches the directory";
    }
    const std::vector<Permissions> own{{5, 5, 0644}, passage(5, 0700)};
    EXPECT_EQ(common_permissions(own), (Permissions{5, 5, 0600}));
}

std::vector<std::byte> acl(std::initializer_list<std::array<std::uint32_t, 3>> entries) {
    std::vector<std::byte> bytes{std::byte{2}, std::byte{0}, std::byte{0}, std::byte{0}};
    for (const auto& [tag, bits, id] : entries) {
        for (const std::uint32_t value :
             {tag & 255U, tag >> 8, bits & 255U, bits >> 8, id & 255U, id >> 8 & 255U, id >> 16 & 255U, id >> 24}) {
            bytes.push_back(static_cast<std::byte>(value));
        }
    }
    return bytes;
}

constexpr std::uint32_t nobody_in_particular = 0xffffffff;

TEST(ModeUnderAcl, HasTheGroupsOwnBitsWhereTheMaskStands) {
    // user::rw- user:42:r-- group::--- mask::r-- other::---, which stat() calls 0640.
    const auto named = acl({{1, 6, nobody_in_particular},
                            {2, 4, 42},
                            {4, 0, nobody_in_particular},
                            {16, 4, nobody_in_particular},
                            {32, 0, nobody_in_particular}});
    EXPECT_EQ(mode_under_acl(0640, named), 0600U);
}

TEST(ModeUnderAcl, DeniesWhatAnEntryForSomebodyDenies) {
    // user:42:--- among rw-r--r--.
    const auto user = acl({{1, 6, nobody_in_particular},
                           {2, 0, 42},
                           {4, 4, nobody_in_particular},
                           {16, 4, nobody_in_particular},
                           {32, 4, nobody_in_particular}});
    EXPECT_EQ(mode_under_acl(0644, user), 0600U);
    // group:42:--- keeps its members out of what others may; the owning group reads.
    const auto group = acl({{1, 6, nobody_in_particular},
                            {4, 4, nobody_in_particular},
                            {8, 0, 42},
                            {16, 4, nobody_in_particular},
                            {32, 4, nobody_in_particular}});
    EXPECT_EQ(mode_under_acl(0644, group), 0640U);
    // The mask cuts a named user's rights, not those of others.
    const auto masked = acl({{1, 7, nobody_in_particular},
                             {2, 7, 42},
                             {4, 5, nobody_in_particular},
                             {16, 4, nobody_in_particular},
                             {32, 5, nobody_in_particular}});
    EXPECT_EQ(mode_under_acl(01745, masked), 01744U);
}

TEST(ModeUnderAcl, LeavesTheOwnerAloneWhatIsNoAcl) {
    auto other_version = acl({{1, 6, nobody_in_particular}});
    other_version[0] = std::byte{3};
    EXPECT_EQ(mode_under_acl(0755, other_version), 0700U);
    EXPECT_EQ(mode_under_acl(0755, acl({{64, 7, nobody_in_particular}})), 0700U);
    EXPECT_EQ(mode_under_acl(0755, std::span<const std::byte>()), 0700U);
}

}  // namespace
}  // namespace permissions
}  // namespace ckptfs
