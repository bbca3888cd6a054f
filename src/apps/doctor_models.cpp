// The part of `doctor` that looks at the model store.
#include "apps/doctor_report.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "engine/runtime/host_limits.hpp"
#include "service/models/catalogue.hpp"
#include "service/models/store.hpp"

namespace deepwell::apps {

void check_models(const Context& context, Report& report) {
  const Result<service::Catalogue> catalogue = service::Catalogue::load(context.home);
  if (!catalogue) report.fail("catalogue", catalogue.error().message);
  const std::string root = join_path(context.home, "models");
  const Result<std::vector<std::string>> names = list_directory(root);
  const service::ModelStore store(context.home);
  const std::uint64_t n_free = engine::available_memory_bytes();  // of the machine, or of a cgroup
  std::size_t n_models = 0;
  for (const std::string& name : names ? *names : std::vector<std::string>()) {
    const Result<service::StoredModel> model = store.find(name);
    if (!model && model.error().code == Code::kNotFound) {
      report.warn("model", concat(name, ": not pulled to its end; deepwell pull ", name,
                                  " goes on, deepwell rm ", name, " removes it"));
      continue;
    }
    ++n_models;
    if (!model) {
      report.fail("model", model.error().message);
    } else if (model->n_bytes > n_free) {
      report.warn("model", concat(name, " (", format_bytes(model->n_bytes),
                                  ") is larger than the memory that is free here (",
                                  format_bytes(n_free), "): up to ", format_bytes(model->n_bytes),
                                  " are read from the disk for each token, so the disk sets the "
                                  "speed; more memory or a smaller quantisation helps"));
    } else {
      report.ok("model", concat(name, ", ", format_bytes(model->n_bytes), ", checked against ",
                                service::verified_name(model->verified)));
    }
  }
  if (n_models == 0) report.warn("model", "none here yet; try: deepwell pull default");
}

}  // namespace deepwell::apps
