// Where the helper program lies; the build knows.
#include "cluster/supervisor/testing/served.hpp"

namespace deepwell::cluster::testing {

std::string child_program() { return DEEPWELL_SUPERVISOR_CHILD; }

}  // namespace deepwell::cluster::testing
