// The one object that knows the path of the checkout.
#include "support/test_data.h"

namespace ckptfs {

std::filesystem::path test_data() {
    return CKPTFS_TEST_DATA;
}

}  // namespace ckptfs
