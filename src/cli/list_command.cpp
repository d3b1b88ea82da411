// ckptfs list: which mounts there are, from the kernel's table and a word of each.
#include <algorithm>
#include <cerrno>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/mount_status.h"
#include "util/text.h"

namespace ckptfs::cli {
namespace {

struct Row {
    MountEntry mount;
    std::string state;
    std::optional<std::string> view;
};

std::string state_after(const Error& error) {
    if (says_stale(error)) {
        return "stale";
    }
    const bool is_refused = error.system_errno() == EACCES || error.system_errno() == EPERM;
    return is_refused ? "of another user" : "alive";  // which does not know the question: one of another version
}

Row row_of(const MountEntry& mount, bool is_covered, const MountControls& controls) {
    if (is_covered) {
        return {mount, "covered", std::nullopt};
    }
    const auto view = ask_in_time(controls, mount.point, view_file);
    if (!view) {
        return {mount, "no answer", std::nullopt};
    }
    return *view ? Row{mount, "alive", **view} : Row{mount, state_after(view->error()), std::nullopt};
}

std::vector<Row> rows_of(const MountControls& controls) {
    const std::vector<MountEntry> mounts = controls.mounts();
    std::vector<Row> rows;
    for (auto at = mounts.begin(); at != mounts.end(); ++at) {
        if (at->type == mount_type) {
            const bool is_covered = std::any_of(std::next(at), mounts.end(),
                                                [&](const MountEntry& above) { return above.point == at->point; });
            rows.push_back(row_of(*at, is_covered, controls));
        }
    }
    return rows;
}

void print_json(const std::vector<Row>& rows, std::ostream& out) {
    using Json = nlohmann::ordered_json;
    Json list = Json::array();
    for (const Row& row : rows) {
        list.push_back({{"mount_point", row.mount.point},
                        {"source", row.mount.source},
                        {"view", row.view ? Json(*row.view) : Json()},
                        {"state", row.state},
                        {"user", row.mount.user ? Json(*row.mount.user) : Json()},
                        {"read_only", row.mount.is_read_only}});
    }
    const Json document{{"schema_version", 1}, {"mounts", std::move(list)}};
    out << document.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
}

}  // namespace

Result<void> list_mounts(const ListMountsArguments& arguments, const Environment& environment) {
    const std::vector<Row> rows = rows_of(environment.mount_controls);
    if (arguments.json) {
        print_json(rows, environment.out);
        return {};
    }
    std::vector<std::vector<std::string>> cells{{"MOUNTPOINT", "VIEW", "STATE", "USER", "SOURCE"}};
    for (const Row& row : rows) {
        cells.push_back({printable(row.mount.point), row.view ? printable(*row.view) : "-", row.state,
                         row.mount.user ? std::to_string(*row.mount.user) : "-", printable(row.mount.source)});
    }
    if (!rows.empty()) {
        environment.out << table(cells, {}, "");
    }
    return {};
}

}  // namespace ckptfs::cli
