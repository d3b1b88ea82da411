// Permissions of what is made of several files, and of what lies behind several directories: never more than each
// gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ckptfs/source.h"

namespace ckptfs {

struct Permissions {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint32_t mode = 0;  ///< permission bits (07777)

    bool operator==(const Permissions&) const = default;
};

/// Belongs to nobody who logs in (/proc/sys/kernel/overflowuid): stands where files have no owner or group in common.
inline constexpr std::uint32_t nobody = 65534;

[[nodiscard]] Permissions permissions_of(const FileInfo& file);
/// What a directory on the way to a file leaves of the file's: all to those who may search it, nothing to others.
[[nodiscard]] Permissions passage_through(const FileInfo& directory);

/// What may be granted to owner, group and others of one file so that nobody gets more of it than of each of `all`,
/// whoever asks and whatever groups that is in. Of equal owners and groups the common bits. Not for an empty `all`.
[[nodiscard]] Permissions common_permissions(std::span<const Permissions> all);

[[nodiscard]] FileInfo with_permissions(FileInfo file, const Permissions& permissions);
/// `file` with the permissions that it has in common with `others`.
[[nodiscard]] FileInfo restricted(FileInfo file, std::span<const Permissions> others);

/// The mode of a file with this POSIX ACL (the bytes of system.posix_acl_access, see linux/posix_acl_xattr.h), so that
/// its bits grant to nobody what the ACL denies; whom an entry of his own grants more may get less. `mode` has the mask
/// where the group's bits are; its bits above 0777 stay. What is no such ACL leaves the owner's bits alone.
[[nodiscard]] std::uint32_t mode_under_acl(std::uint32_t mode, std::span<const std::byte> acl);

}  // namespace ckptfs
