// One wording for re-cut files and for derived views.
#include "verify/comparison_report.h"

#include "util/text.h"
#include "verify/second_reader.h"

namespace ckptfs::verify {

Result<void> report_comparison(const std::string& what, const Comparison& comparison, std::uint64_t numel,
                               Problems& problems) {
    if (comparison.view_error) {
        if (is_of_the_world(*comparison.view_error)) {
            return *comparison.view_error;
        }
        problems.add(what + ": the view cannot be read: " + comparison.view_error->message());
    } else if (comparison.first_difference) {
        problems.add(what + ": differs from the source from element " + grouped(*comparison.first_difference) + " of " +
                     grouped(numel) + " on");
    }
    return {};
}

}  // namespace ckptfs::verify
