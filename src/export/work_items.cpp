// Files take turns, so that as many as there are threads are in work at a time.
#include "export/work_items.h"

#include <algorithm>
#include <deque>
#include <numeric>

namespace ckptfs::exporting {
namespace {

std::deque<WorkItem> items_of(const Plan& plan, std::size_t file, const FinishedFile& finished) {
    std::deque<WorkItem> items;
    for (std::uint64_t segment = 0; segment < plan.segments(file).count(); ++segment) {
        if (!finished.segments.contains(segment)) {
            items.push_back({file, segment});
        }
    }
    if (items.empty()) {
        items.push_back({file, std::nullopt});
    }
    return items;
}

}  // namespace

std::map<std::size_t, std::size_t> count_by_file(const std::vector<WorkItem>& items) {
    std::map<std::size_t, std::size_t> counts;
    for (const WorkItem& item : items) {
        ++counts[item.file];
    }
    return counts;
}

std::vector<WorkItem> work_order(const Plan& plan, const std::map<std::uint64_t, FinishedFile>& finished,
                                 std::size_t abreast) {
    std::vector<std::size_t> files(plan.files.size());
    std::iota(files.begin(), files.end(), std::size_t{0});
    std::stable_sort(files.begin(), files.end(), [&](std::size_t a, std::size_t b) {
        return plan.file(a).info.stamp.size > plan.file(b).info.stamp.size;
    });
    std::vector<WorkItem> order;
    std::deque<std::deque<WorkItem>> in_work;
    auto next = files.begin();
    while (true) {
        for (; in_work.size() < abreast && next != files.end(); ++next) {
            const auto known = finished.find(*next);
            if (known == finished.end() || !known->second.is_complete) {
                in_work.push_back(items_of(plan, *next, known == finished.end() ? FinishedFile() : known->second));
            }
        }
        if (in_work.empty()) {
            return order;
        }
        std::deque<WorkItem> items = std::move(in_work.front());
        in_work.pop_front();
        order.push_back(items.front());
        items.pop_front();
        if (!items.empty()) {
            in_work.push_back(std::move(items));
        }
    }
}

}  // namespace ckptfs::exporting
