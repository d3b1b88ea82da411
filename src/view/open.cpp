// The public way to tags and views.
#include "ckptfs/open.h"

#include "view/zero_tag.h"

namespace ckptfs {

std::unique_ptr<TagReader> zero_tag_reader() {
    return view::zero_tag_reader(view::ViewOptions());
}

}  // namespace ckptfs
