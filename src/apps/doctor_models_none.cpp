// Engine-only builds have no model store.
#include "apps/doctor_report.hpp"

namespace deepwell::apps {

void check_models(const Context&, Report& report) {
  report.ok("models", "this engine-only build takes GGUF files with -m FILE");
}

}  // namespace deepwell::apps
