// Descriptors 0 to 2 are for the standard streams, open or not.
#pragma once

namespace ckptfs {

/// Opens /dev/null in place of each that is closed, so that nothing opened later becomes standard input, output or
/// error. In the place of standard output it cannot be written, so that what is written there is still an error. Call
/// it first of all.
void occupy_standard_streams();

}  // namespace ckptfs
