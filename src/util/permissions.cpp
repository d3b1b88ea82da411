// The kernel asks the first class that fits: owner, then group, then others. Whoever falls into one class for the
// result may fall into any class of a file whose owner or group is another.
#include "util/permissions.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace ckptfs {
namespace {

constexpr std::uint32_t class_bits = 07;
constexpr std::uint32_t all_classes = 0777;
constexpr unsigned owner_shift = 6;
constexpr unsigned group_shift = 3;
constexpr std::uint32_t search_bit = 01;
constexpr std::size_t max_candidates = 8;

struct Classes {
    std::uint32_t owner = class_bits;
    std::uint32_t group = class_bits;
    std::uint32_t other = class_bits;
};

Classes classes_of(std::uint32_t mode) {
    return {(mode >> owner_shift) & class_bits, (mode >> group_shift) & class_bits, mode & class_bits};
}

Classes granted(std::span<const Permissions> all, std::uint32_t uid, std::uint32_t gid) {
    Classes result;
    for (const Permissions& file : all) {
        const Classes bits = classes_of(file.mode);
        // Of another owner: each of the result's classes may hold him. Of another group: its members may be anybody.
        const std::uint32_t if_owner = file.uid == uid ? class_bits : bits.owner;
        const std::uint32_t if_member = file.gid == gid ? class_bits : bits.group;
        result.owner &= file.uid == uid ? bits.owner : bits.group & bits.other;
        result.group &= if_owner & (file.gid == gid ? bits.group : bits.group & bits.other);
        result.other &= if_owner & if_member & bits.other;
    }
    return result;
}

unsigned count(std::uint32_t bits) {
    return (bits & 1U) + ((bits >> 1U) & 1U) + ((bits >> 2U) & 1U);
}

// More for others counts most. Where nobody owns the result, those who own the files come in by their group.
unsigned worth(const Classes& bits, std::uint32_t uid) {
    return 16 * count(bits.other) + 4 * count(bits.group) + count(uid == nobody ? bits.group : bits.owner);
}

std::uint32_t little_endian(std::span<const std::byte> bytes) {
    std::uint32_t value = 0;
    for (std::size_t i = bytes.size(); i > 0; --i) {
        value = value << 8U | std::to_integer<std::uint32_t>(bytes[i - 1]);
    }
    return value;
}

constexpr std::uint32_t acl_version = 2;
constexpr std::size_t acl_header_nbytes = 4;
constexpr std::size_t acl_entry_nbytes = 8;
enum AclTag : std::uint32_t {
    acl_user_obj = 0x01,
    acl_user = 0x02,
    acl_group_obj = 0x04,
    acl_group = 0x08,
    acl_mask = 0x10,
    acl_other = 0x20,
};

}  // namespace

Permissions permissions_of(const FileInfo& file) {
    return {file.uid, file.gid, file.mode};
}

Permissions passage_through(const FileInfo& directory) {
    const Classes bits = classes_of(directory.mode);
    const auto all_or_nothing = [](std::uint32_t class_of) { return (class_of & search_bit) != 0 ? class_bits : 0U; };
    return {directory.uid, directory.gid,
            07000U | all_or_nothing(bits.owner) << owner_shift | all_or_nothing(bits.group) << group_shift |
                all_or_nothing(bits.other)};
}

Permissions common_permissions(std::span<const Permissions> all) {
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> modes;  // by owner and group
    std::uint32_t above = 07000;
    for (const Permissions& file : all) {
        const auto known = modes.emplace(std::pair(file.uid, file.gid), file.mode).first;
        known->second &= file.mode;
        above &= file.mode;
    }
    std::vector<Permissions> distinct;
    std::vector<std::uint32_t> uids{all.front().uid};
    std::vector<std::uint32_t> gids{all.front().gid};
    const auto add = [](std::vector<std::uint32_t>& ids, std::uint32_t id) {
        if (ids.size() < max_candidates && std::find(ids.begin(), ids.end(), id) == ids.end()) {
            ids.push_back(id);
        }
    };
    for (const auto& [owner, mode] : modes) {
        distinct.push_back({owner.first, owner.second, mode});
        add(uids, owner.first);
        add(gids, owner.second);
    }
    if (distinct.size() > 1) {
        uids.push_back(nobody);
        gids.push_back(nobody);
    }
    Permissions best{uids.front(), gids.front(), 0};
    Classes best_bits = granted(distinct, best.uid, best.gid);
    for (const std::uint32_t uid : uids) {
        for (const std::uint32_t gid : gids) {
            const Classes bits = granted(distinct, uid, gid);
            if (worth(bits, uid) > worth(best_bits, best.uid)) {
                best = {uid, gid, 0};
                best_bits = bits;
            }
        }
    }
    best.mode = above | best_bits.owner << owner_shift | best_bits.group << group_shift | best_bits.other;
    return best;
}

FileInfo with_permissions(FileInfo file, const Permissions& permissions) {
    file.uid = permissions.uid;
    file.gid = permissions.gid;
    file.mode = permissions.mode;
    return file;
}

FileInfo restricted(FileInfo file, std::span<const Permissions> others) {
    std::vector<Permissions> all{permissions_of(file)};
    all.insert(all.end(), others.begin(), others.end());
    return with_permissions(file, common_permissions(all));
}

std::uint32_t mode_under_acl(std::uint32_t mode, std::span<const std::byte> acl) {
    const std::uint32_t owner_alone = mode & ~(all_classes & ~(class_bits << owner_shift));
    if (acl.size() < acl_header_nbytes || (acl.size() - acl_header_nbytes) % acl_entry_nbytes != 0 ||
        little_endian(acl.first(acl_header_nbytes)) != acl_version) {
        return owner_alone;
    }
    Classes bits;
    std::uint32_t mask = class_bits;
    std::optional<std::uint32_t> named_users;
    std::optional<std::uint32_t> named_groups;
    for (acl = acl.subspan(acl_header_nbytes); !acl.empty(); acl = acl.subspan(acl_entry_nbytes)) {
        const std::uint32_t granted_bits = little_endian(acl.subspan(2, 2)) & class_bits;
        switch (little_endian(acl.first(2))) {
            case acl_user_obj:
                bits.owner = granted_bits;
                break;
            case acl_user:
                named_users = named_users.value_or(class_bits) & granted_bits;
                break;
            case acl_group_obj:
                bits.group = granted_bits;
                break;
            case acl_group:
                named_groups = named_groups.value_or(class_bits) & granted_bits;
                break;
            case acl_mask:
                mask = granted_bits;
                break;
            case acl_other:
                bits.other = granted_bits;
                break;
            default:
                return owner_alone;
        }
    }
    // A user of the group, or any other, may have an entry of his own that gives less; so may his other groups.
    const std::uint32_t users = named_users ? *named_users & mask : class_bits;
    const std::uint32_t groups = named_groups ? *named_groups & mask : class_bits;
    return (mode & ~all_classes) | bits.owner << owner_shift | (bits.group & mask & users) << group_shift |
           (bits.other & users & groups);
}

}  // namespace ckptfs
